package main

import (
	"net/http"
	"slices"
)

// mode is how the load generator uses its connections; see load.c.
type mode string

const (
	keepAlive mode = "keep"
	newConns  mode = "new"
	streaming mode = "stream"
)

const (
	routeCount   = 1000
	streamChunks = 100 // of upstream.c
	recordBytes  = 40  // of upstream.c
)

// workload is what the load generator asks for.
type workload struct {
	target string // %d stands for the number of a route
	length int    // of every body, in bytes
	conns  int
	mode   mode
	routes int  // how many route numbers the target takes; 1 without %d
	apiKey bool // send the consumer's key
	stream bool // the unit is a chunk, not a request
}

func (w workload) header() http.Header {
	h := http.Header{}
	if w.apiKey {
		h.Set("apikey", apiKey)
	}
	return h
}

// unit names what the CPU time is divided by.
func (w workload) unit() string {
	if w.stream {
		return "chunk"
	}
	return "request"
}

// entry is one row of a case: a program in a setup.
type entry struct {
	label string
	kind  string
	setup setup
}

// benchCase is one table of the report.
type benchCase struct {
	name      string
	title     string
	work      workload
	entries   []entry
	contended bool // a busy process shares the proxy's core
	gates     []gate
}

// gate is a threshold on the median of the per-round ratios of two entries.
type gate struct {
	label, base string
	limit       float64
}

// everyone makes the usual rows of a case: all programs in the same setup.
func everyone(s setup) []entry {
	var out []entry
	for _, name := range kindNames() {
		out = append(out, entry{label: name, kind: name, setup: s})
	}
	return out
}

// cases lists the workloads with the thresholds that Sluice is held to, as design decisions of the project: never
// on microseconds, which differ from hour to hour, only on ratios within a round.
func cases() []benchCase {
	one := setup{routes: 1}
	plain := workload{target: "/1k", length: 1 << 10, conns: 64, mode: keepAlive, routes: 1}
	with := func(change func(*workload)) workload {
		w := plain
		change(&w)
		return w
	}

	chain := everyone(one)
	chain[slices.IndexFunc(chain, func(e entry) bool { return e.kind == "sluice" })].setup.chain = true
	chain = append(chain, entry{label: "sluice-bare", kind: "sluice", setup: one})

	large := append(everyone(one),
		entry{label: "nginx-tuned", kind: "nginx", setup: setup{routes: 1, tuned: true}},
		entry{label: "haproxy-tuned", kind: "haproxy", setup: setup{routes: 1, tuned: true}})

	return []benchCase{
		{
			name: "plain64", title: "1 KiB, keep-alive, 64 connections",
			work:    plain,
			entries: everyone(one),
			gates:   []gate{{"sluice", "nginx", 0.95}, {"sluice", "haproxy", 0.95}},
		},
		{
			name: "plain4", title: "1 KiB, keep-alive, 4 connections",
			work:    with(func(w *workload) { w.conns = 4 }),
			entries: everyone(one),
			gates:   []gate{{"sluice", "nginx", 1.1}, {"sluice", "haproxy", 1.1}},
		},
		{
			name: "contended", title: "1 KiB, keep-alive, 64 connections, the core shared with a busy process",
			work:      plain,
			entries:   everyone(one),
			contended: true,
		},
		{
			name: "routes", title: "1 KiB, keep-alive, 64 connections, 1,000 route prefixes",
			work: with(func(w *workload) { w.target, w.routes = "/svc-%d/1k", routeCount }),
			entries: append(everyone(setup{routes: routeCount}),
				entry{label: "sluice-1-route", kind: "sluice", setup: one}),
			gates: []gate{{"sluice", "sluice-1-route", 1.05}},
		},
		{
			name: "chain", title: "1 KiB, keep-alive, 64 connections, Sluice with key-auth + limit-count + prometheus, the others bare",
			work:    with(func(w *workload) { w.apiKey = true }),
			entries: chain,
			gates:   []gate{{"sluice", "nginx", 1.1}},
		},
		{
			name: "body64k", title: "64 KiB, keep-alive, 64 connections",
			work:    with(func(w *workload) { w.target, w.length = "/64k", 64<<10 }),
			entries: large,
		},
		{
			name: "body1m", title: "1 MiB, keep-alive, 8 connections",
			work:    with(func(w *workload) { w.target, w.length, w.conns = "/1m", 1<<20, 8 }),
			entries: large,
			gates:   []gate{{"sluice", "nginx", 0.7}},
		},
		{
			name: "chunks", title: "streams of 100 chunks of 40 bytes, one every 10 ms, 128 connections (nginx: proxy_buffering off, haproxy: http-no-delay)",
			work: with(func(w *workload) {
				w.target, w.length, w.conns = "/chunks", streamChunks*recordBytes, 128
				w.mode, w.stream = streaming, true
			}),
			entries: everyone(setup{routes: 1, stream: true}),
			gates:   []gate{{"sluice", "nginx", 1.1}},
		},
		{
			name: "newconn", title: "1 KiB, one request per connection, 64 at a time, upstream connections kept alive",
			work:    with(func(w *workload) { w.mode = newConns }),
			entries: everyone(one),
		},
	}
}

func caseNames() []string {
	var out []string
	for _, c := range cases() {
		out = append(out, c.name)
	}
	return out
}
