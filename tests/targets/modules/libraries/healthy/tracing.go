package main

import (
	"context"
	"log"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/trace"

	"example.com/observer-targets/internal/app"
)

// exporter sends spans to the downstream, which takes all that comes.
func exporter(base string) *otlptrace.Exporter {
	host := strings.TrimPrefix(base, "http://")
	made, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpoint(host), otlptracehttp.WithInsecure(),
		otlptracehttp.WithURLPath("/slow"))
	if err != nil {
		log.Fatal(err)
	}
	return made
}

// simple exports each span as it ends, on the goroutine that ends it.
func simple(base string) *trace.TracerProvider {
	return trace.NewTracerProvider(trace.WithSyncer(exporter(base)))
}

func batch(base string) *trace.TracerProvider {
	return trace.NewTracerProvider(trace.WithBatcher(exporter(base), trace.WithBatchTimeout(200*time.Millisecond)))
}

// traced makes a span of the request, one of a piece of work, and one of a call.
func (s *service) traced(provider *trace.TracerProvider, name string) http.HandlerFunc {
	return s.instrumented(provider, name, quick)
}

func (s *service) tracedSlow(provider *trace.TracerProvider, name string) http.HandlerFunc {
	return s.instrumented(provider, name, 2*time.Second)
}

func (s *service) instrumented(provider *trace.TracerProvider, name string, d time.Duration) http.HandlerFunc {
	tracer := provider.Tracer("healthy")
	client := &http.Client{Transport: otelhttp.NewTransport(s.http.Transport, otelhttp.WithTracerProvider(provider))}
	work := func(w http.ResponseWriter, r *http.Request) {
		app.RequestID(r)
		ctx, span := tracer.Start(r.Context(), "work")
		defer span.End()
		reply(w, fetch(ctx, client, s.base, d))
	}
	return otelhttp.NewHandler(http.HandlerFunc(work), name, otelhttp.WithTracerProvider(provider)).ServeHTTP
}
