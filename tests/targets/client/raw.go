package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// raw does one request on a connection of its own, byte by byte.
func raw(o *options, id string, deadline time.Time) (result, error) {
	dialed, err := net.DialTimeout("tcp", o.url.Host, 5*time.Second)
	if err != nil {
		return failed, err
	}
	conn := dialed.(*net.TCPConn)
	defer conn.Close()
	leaving := deadline
	if o.patience > 0 {
		leaving = earlier(deadline, time.Now().Add(o.patience))
	}
	if o.mode == "halfclose" {
		if o.patience > 0 {
			halfClose := time.AfterFunc(o.patience, func() { _ = conn.CloseWrite() })
			defer halfClose.Stop()
		}
		leaving = deadline
	}
	if o.mode == "slowread" {
		_ = conn.SetReadBuffer(4 << 10)
	}
	_ = conn.SetDeadline(leaving)
	var stream net.Conn = conn
	if o.url.Scheme == "https" {
		stream = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	outcome, err := exchange(o, stream, id)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if o.close == "rst" {
			_ = conn.SetLinger(0)
		}
		return dropped, nil
	}
	return outcome, err
}

// exchange sends what the mode sends and reads every answer to it.
func exchange(o *options, conn net.Conn, id string) (result, error) {
	head := requestHead(o, id)
	body := make([]byte, o.bodySize)
	in := bufio.NewReader(conn)
	answers := 1
	var first []byte
	switch o.mode {
	case "pipeline":
		first = append(append(first, head...), body...)
		if o.gap == 0 {
			first = append(first, first...)
		}
		answers = 2
	case "expect100":
		first = head
	case "postunread":
		// A first piece only: the rest of the body never comes.
		first = append(append(first, head...), body[:min(1024, len(body))]...)
	default:
		first = append(append(first, head...), body...)
	}
	if _, err := conn.Write(first); err != nil {
		return failed, err
	}
	if o.mode == "pipeline" && o.gap > 0 {
		time.Sleep(o.gap)
		if _, err := conn.Write(first); err != nil {
			return failed, err
		}
	}
	if o.mode == "expect100" {
		sendBody, err := awaitContinue(in)
		if err != nil {
			return failed, err
		}
		if sendBody {
			if _, err := conn.Write(body); err != nil {
				return failed, err
			}
		}
	}
	var source io.Reader = in
	if o.mode == "slowread" {
		source = slowly{in}
	}
	buffered := bufio.NewReader(source)
	for ; answers > 1; answers-- {
		if outcome, err := answer(o, buffered); outcome != ok {
			return outcome, err
		}
	}
	return answer(o, buffered)
}

func answer(o *options, in *bufio.Reader) (result, error) {
	resp, err := http.ReadResponse(in, &http.Request{Method: o.method})
	if err != nil {
		return failed, err
	}
	defer resp.Body.Close()
	got, err := readBody(o, resp.Body)
	if err != nil {
		return failed, err
	}
	return judge(o, resp.StatusCode, got)
}

func requestHead(o *options, id string) []byte {
	version := "1.1"
	if o.mode == "http10" {
		version = "1.0"
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/%s\r\nHost: %s\r\n", o.method, o.url.RequestURI(), version, o.url.Host)
	for _, line := range o.headers {
		name, value := split(line)
		fmt.Fprintf(&head, "%s: %s\r\n", name, value)
	}
	if id != "" {
		fmt.Fprintf(&head, "%s: %s\r\n", o.idHeader, id)
	}
	if o.bodySize > 0 {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", o.bodySize)
	}
	if o.mode == "expect100" {
		head.WriteString("Expect: 100-continue\r\n")
	}
	head.WriteString("\r\n")
	return head.Bytes()
}

// awaitContinue reads the interim answer; a final answer stays in the buffer, and the body is not sent.
func awaitContinue(in *bufio.Reader) (bool, error) {
	const interim = "HTTP/1.1 100"
	start, err := in.Peek(len(interim))
	if err != nil {
		return false, err
	}
	if string(start) != interim {
		return false, nil
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false, err
		}
		if line == "\r\n" {
			return true, nil
		}
	}
}

// slowly gives a kilobyte every hundred milliseconds.
type slowly struct{ from io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	return s.from.Read(p[:min(1024, len(p))])
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
