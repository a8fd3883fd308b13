package main

import "sync"

// locks is about what nobody can unlock, or be done with.
func locks() {
	away(func() {
		work := new(sync.WaitGroup)
		work.Add(1)
		waits("lost", "wait-group", func() { work.Wait() })
	})
	away(func() {
		of := &struct {
			sync.Mutex
			next *node
		}{}
		of.Lock()
		waits("lost", "mutex", func() { of.Lock() })
		waits("lost", "mutex-too", func() { of.Lock() })
	})
}
