// Package report builds the monthly sales report.
package report

import (
	"context"
	"fmt"
	"time"
)

// Builder builds reports.
type Builder struct {
	// Query is how long the sales query takes.
	Query time.Duration
}

// Build makes the report for a month.
func (b *Builder) Build(month string) string {
	rows := b.sales()
	return fmt.Sprintf("%s: %d sales\n", month, rows)
}

func (b *Builder) sales() int {
	time.Sleep(b.Query) // want: cancel-ignored shop-report
	return 1412
}

// Summary is Build for those who may leave before it is done.
func (b *Builder) Summary(ctx context.Context, month string) (string, error) {
	timer := time.NewTimer(b.Query)
	defer timer.Stop()
	select {
	case <-timer.C:
		return fmt.Sprintf("%s: 1412 sales\n", month), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
