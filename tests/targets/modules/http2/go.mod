module example.com/observer-targets/modules/http2

go 1.18

require (
	example.com/observer-targets v0.0.0
	golang.org/x/net v0.12.0
)

require golang.org/x/text v0.11.0 // indirect

replace example.com/observer-targets => ../..
