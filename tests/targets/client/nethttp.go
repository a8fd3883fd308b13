package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

var pooled *http.Client

// prepare makes the client that get and h2 share.
func prepare(o *options) {
	transport := &http.Transport{
		MaxIdleConns:        o.workers,
		MaxIdleConnsPerHost: o.workers,
		DisableCompression:  true,
		// The targets make their certificate in memory; there is nothing to check it against.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	if o.mode == "h2" {
		transport.ForceAttemptHTTP2 = true
	}
	pooled = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func viaNetHTTP(o *options, id string, deadline time.Time) (result, error) {
	leaving := deadline
	if o.patience > 0 {
		leaving = earlier(deadline, time.Now().Add(o.patience))
	}
	ctx, cancel := context.WithDeadline(context.Background(), leaving)
	defer cancel()
	var body io.Reader
	if o.bodySize > 0 {
		body = bytes.NewReader(make([]byte, o.bodySize))
	}
	req, err := http.NewRequestWithContext(ctx, o.method, o.url.String(), body)
	if err != nil {
		return failed, err
	}
	for _, line := range o.headers {
		name, value := split(line)
		req.Header.Add(name, value)
	}
	if id != "" {
		req.Header.Set(o.idHeader, id)
	}
	resp, err := pooled.Do(req)
	if err != nil {
		return left(ctx, err)
	}
	defer resp.Body.Close()
	if o.mode == "h2" && resp.ProtoMajor != 2 {
		return bad, fmt.Errorf("answered over %s", resp.Proto)
	}
	got, err := readBody(o, resp.Body)
	if err != nil {
		return left(ctx, err)
	}
	return judge(o, resp.StatusCode, got)
}

// left tells our own leaving from a failure.
func left(ctx context.Context, err error) (result, error) {
	if ctx.Err() != nil {
		return dropped, nil
	}
	return failed, err
}

// readBody keeps the text only when somebody wants to look at it.
func readBody(o *options, body io.Reader) ([]byte, error) {
	if o.expect == "" {
		_, err := io.Copy(io.Discard, body)
		return nil, err
	}
	return io.ReadAll(io.LimitReader(body, 16<<20))
}

func judge(o *options, status int, body []byte) (result, error) {
	if o.status != 0 && status != o.status || o.status == 0 && status/100 != 2 {
		return bad, fmt.Errorf("status %d", status)
	}
	if o.expect != "" && !bytes.Contains(body, []byte(o.expect)) {
		return bad, fmt.Errorf("body %.80q does not contain %q", body, o.expect)
	}
	return ok, nil
}

func split(header string) (name, value string) {
	at := strings.IndexByte(header, ':')
	return strings.TrimSpace(header[:at]), strings.TrimSpace(header[at+1:])
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
