package main

import (
	"fmt"
	"log"
	"net"
	"syscall"
	"time"
)

// A listener without room for anybody who waits: once it is full, the kernel drops who comes, without a word. Who
// came is asked to wait no longer only by its own timeout.
func listen() (fd int, address string) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		log.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		log.Fatal(err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

// fill takes all the room there is: a raw socket of its own, so that nothing of package net is seen to dial.
func fill(fd int) (waiting []int) {
	name, err := syscall.Getsockname(fd)
	if err != nil {
		log.Fatal(err)
	}
	for i := 0; i < 2; i++ {
		one, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			log.Fatal(err)
		}
		if err = syscall.Connect(one, name); err != nil && err != syscall.EINPROGRESS {
			log.Fatal(err)
		}
		waiting = append(waiting, one)
	}
	return waiting
}

// hole is an address at which nobody ever answers.
func hole() string {
	fd, address := listen()
	fill(fd)
	return address
}

// wakes is an address that does not answer for d, and then does; with 0 it answers at once.
func wakes(d time.Duration) string {
	if d == 0 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			if conn, err := ln.Accept(); err == nil {
				_ = conn.Close()
			}
			_ = ln.Close()
		}()
		return ln.Addr().String()
	}
	fd, address := listen()
	waiting := fill(fd)
	time.AfterFunc(d, func() {
		_ = syscall.Listen(fd, 16)
		for _, one := range waiting {
			_ = syscall.Close(one)
		}
		// Long enough for the kernel to ask again.
		time.AfterFunc(4*time.Second, func() { _ = syscall.Close(fd) })
	})
	return address
}
