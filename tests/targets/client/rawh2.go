package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// Frame types and flags of RFC 9113.
const (
	frameData     = 0x0
	frameHeaders  = 0x1
	frameSettings = 0x4
	frameGoAway   = 0x7

	endStream  = 0x1
	endHeaders = 0x4
)

// rawHTTP2 sends one request over an HTTP/2 connection of its own, and leaves by closing that, not the stream. h2break
// first sends a frame that no connection survives, and waits until the server has said so.
func rawHTTP2(o *options, id string, deadline time.Time) (result, error) {
	dialed, err := net.DialTimeout("tcp", o.url.Host, 5*time.Second)
	if err != nil {
		return failed, err
	}
	conn := dialed.(*net.TCPConn)
	defer conn.Close()
	_ = conn.SetDeadline(deadline)
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := secure.Handshake(); err != nil {
		return failed, err
	}
	if err := openStream(secure, o, id); err != nil {
		return failed, err
	}
	// Closing with something unread would be a reset.
	goAway := make(chan error, 1)
	go func() { goAway <- readToGoAway(secure) }()
	time.Sleep(o.patience)
	if o.mode == "h2break" {
		if err := writeFrame(secure, frameData, 0, 0, []byte("no stream")); err != nil {
			return failed, err
		}
		if err := <-goAway; err != nil {
			return failed, err
		}
	}
	if o.close == "rst" {
		_ = conn.SetLinger(0)
	}
	return dropped, nil
}

func openStream(conn io.Writer, o *options, id string) error {
	var first bytes.Buffer
	first.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	_ = writeFrame(&first, frameSettings, 0, 0, nil)
	// HPACK without a table of its own: `:method GET` and `:scheme https` are entries 2 and 7 of the static table, its
	// entries 1 and 4 name `:authority` and `:path`.
	fields := []byte{0x82, 0x87}
	fields = appendText(append(fields, 0x01), o.url.Host)
	fields = appendText(append(fields, 0x04), o.url.RequestURI())
	if id != "" {
		fields = appendText(appendText(append(fields, 0), "x-request-id"), id)
	}
	_ = writeFrame(&first, frameHeaders, endStream|endHeaders, 1, fields)
	_, err := conn.Write(first.Bytes())
	return err
}

// appendText writes a string of less than 127 bytes as HPACK does without Huffman's code.
func appendText(to []byte, text string) []byte {
	return append(append(to, byte(len(text))), text...)
}

func writeFrame(to io.Writer, kind, flags byte, stream uint32, payload []byte) error {
	frame := make([]byte, 9, 9+len(payload))
	binary.BigEndian.PutUint32(frame, uint32(len(payload))<<8|uint32(kind))
	frame[4] = flags
	binary.BigEndian.PutUint32(frame[5:], stream)
	_, err := to.Write(append(frame, payload...))
	return err
}

// readToGoAway reads what comes until the server gives the connection up.
func readToGoAway(from io.Reader) error {
	in := bufio.NewReader(from)
	var head [9]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return fmt.Errorf("no GOAWAY: %w", err)
		}
		if _, err := io.CopyN(io.Discard, in, int64(binary.BigEndian.Uint32(head[:])>>8)); err != nil {
			return err
		}
		if head[3] == frameGoAway {
			return nil
		}
	}
}
