package main

import (
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
)

// client is somebody who stays: news go out as long as the connection is open.
type client struct {
	conn net.Conn
	news chan string
	// end tells the writer.
	end func()
}

// clients are all that are there.
var (
	clients   = make(map[*client]bool)
	clientsMu sync.Mutex
)

func (c *client) comes() {
	clientsMu.Lock()
	defer clientsMu.Unlock()
	clients[c] = true
}

func (c *client) leaves() {
	clientsMu.Lock()
	defer clientsMu.Unlock()
	delete(clients, c)
}

// pumps takes the connection over and leaves it to two goroutines. Nothing of the request is in memory soon after.
func pumps(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	c := &client{conn: conn, news: make(chan string), end: func() {}}
	c.comes()
	_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	if r.URL.Path == "/pumps" {
		go c.write() // want: goroutine-leak pumps
	} else {
		go c.write()
		c.end = func() { close(c.news) }
	}
	go c.read()
	go forget()
}

func (c *client) write() {
	for text := range c.news {
		if _, err := c.conn.Write([]byte(text)); err != nil {
			return
		}
	}
}

// read ends with the connection.
func (c *client) read() {
	defer c.end()
	defer c.leaves()
	defer c.conn.Close()
	for buf := make([]byte, 512); ; {
		if _, err := c.conn.Read(buf); err != nil {
			return
		}
	}
}

// forget collects garbage, and writes over what is free, for as long as observer takes to have its first look.
func forget() {
	var kept [16][]byte
	for i := 0; i < 100; i++ {
		kept[i%len(kept)] = make([]byte, 64<<10)
		runtime.GC()
		time.Sleep(5 * time.Millisecond)
	}
}
