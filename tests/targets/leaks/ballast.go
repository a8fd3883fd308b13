package main

import "flag"

var ballast = flag.Int("ballast", 0, "MiB of objects with pointers to hold")

// page is an object of 4 KiB that refers to others.
type page [512]*page

// held is the first of a chain.
var held *page

func holds() {
	for i := 0; i < *ballast<<20/4096; i++ {
		held = &page{held}
	}
}
