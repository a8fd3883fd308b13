package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"example.com/observer-targets/internal/app"
)

var upgrader = websocket.Upgrader{}

// echo has a pump for each direction, as the library's own examples do: the handler reads, a goroutine writes and pings.
// Both end with the connection, which is long after the handler of an ordinary request would have.
func echo(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	out := make(chan []byte, 8)
	defer close(out)
	go pump(conn, out)
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		out <- message
	}
}

func pump(conn *websocket.Conn, out <-chan []byte) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case message, open := <-out:
			if !open || conn.WriteMessage(websocket.TextMessage, message) != nil {
				return
			}
		case <-ticker.C:
			if conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) != nil {
				return
			}
		}
	}
}

// converse is a client of echo.
func (s *service) converse(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	conn, _, err := websocket.DefaultDialer.DialContext(r.Context(), "ws://"+s.self+"/echo", nil)
	if err != nil {
		reply(w, err)
		return
	}
	defer conn.Close()
	for i := 0; i < 3; i++ {
		said := fmt.Sprint("message ", i)
		if err := conn.WriteMessage(websocket.TextMessage, []byte(said)); err != nil {
			reply(w, err)
			return
		}
		if _, heard, err := conn.ReadMessage(); err != nil || string(heard) != said {
			reply(w, fmt.Errorf("heard %q: %w", heard, err))
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
	reply(w, nil)
}
