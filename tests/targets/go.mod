module example.com/observer-targets

go 1.18
