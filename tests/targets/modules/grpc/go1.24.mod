module example.com/observer-targets/modules/grpc

go 1.21

require (
	example.com/observer-targets v0.0.0
	golang.org/x/net v0.20.0
	google.golang.org/grpc v1.62.1
	google.golang.org/protobuf v1.32.0
)

require (
	github.com/golang/protobuf v1.5.3 // indirect
	golang.org/x/sys v0.16.0 // indirect
	golang.org/x/text v0.14.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20240123012728-ef4313101c80 // indirect
)

replace example.com/observer-targets => ../..
