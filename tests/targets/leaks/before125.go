//go:build !go1.25

package main

import "example.com/observer-targets/internal/app"

func since125() []app.Route { return nil }
