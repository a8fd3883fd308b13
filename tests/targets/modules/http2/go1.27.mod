module example.com/observer-targets/modules/http2

go 1.26.0

require (
	example.com/observer-targets v0.0.0
	golang.org/x/net v0.60.0
)

require golang.org/x/text v0.42.0 // indirect

replace example.com/observer-targets => ../..
