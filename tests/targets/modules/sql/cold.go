package main

import (
	"syscall"
	"unsafe"
)

const (
	pageSize = 4096

	spaces16   = "                "
	spaces256  = spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16 + spaces16
	spacesPage = spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256 + spaces256

	coldText = `SELECT pg_sleep($1), 'cold' FROM items LIMIT 1`
)

// coldPages have nothing but the text between them: nobody else brings its page in.
var coldPages = spacesPage + coldText + spacesPage

// coldQuery is a query as it is before anybody has used it: in the executable, on no page of the process.
func coldQuery() (string, error) {
	query := coldPages[pageSize : pageSize+len(coldText)]
	at := *(*uintptr)(unsafe.Pointer(&query))
	from := at &^ (pageSize - 1)
	length := int(at) + len(query) - int(from)
	pages := unsafe.Slice((*byte)(unsafe.Pointer(from)), (length+pageSize-1)&^(pageSize-1))
	return query, syscall.Madvise(pages, syscall.MADV_DONTNEED)
}
