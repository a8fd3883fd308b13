//go:build !go1.20

package main

import "example.com/observer-targets/internal/app"

func controllerRoutes() []app.Route { return nil }
