module example.com/observer-targets/modules/sql

go 1.18

require (
	example.com/observer-targets v0.0.0
	github.com/jackc/pgx/v5 v5.2.0
	github.com/lib/pq v1.10.9
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20200714003250-2b9c44734f2b // indirect
	golang.org/x/crypto v0.0.0-20220829220503-c86fa9a7ed90 // indirect
	golang.org/x/text v0.3.8 // indirect
)

replace example.com/observer-targets => ../..
