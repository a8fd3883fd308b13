// Package latency keeps how long the requests of a client took.
package latency

import (
	"sort"
	"time"
)

// kept bounds the memory of a long run over all workers; the first ones are kept.
const kept = 2_000_000

// Of is what one worker has seen.
type Of []time.Duration

// Add keeps one more, as long as there is room for one worker of so many.
func (l *Of) Add(took time.Duration, workers int) {
	if len(*l) < kept/workers {
		*l = append(*l, took)
	}
}

// Quantiles are in milliseconds, 0 where nothing was answered.
type Quantiles struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// Tell sums up what all workers have seen.
func Tell(workers []Of) Quantiles {
	var all Of
	for _, one := range workers {
		all = append(all, one...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	at := func(q float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return float64(all[int(q*float64(len(all)-1))].Microseconds()) / 1000
	}
	return Quantiles{P50: at(0.50), P99: at(0.99), Max: at(1)}
}
