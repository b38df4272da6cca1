package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is the result of one run of one contender.
type sample struct {
	err     error
	units   float64 // requests, or chunks
	seconds float64
	cpu     cpuTime
	others  time.Duration // busy time of the proxy's core that is not the proxy's
	load    loadResult
}

// cpuPerUnit is the headline: microseconds of CPU per request or chunk.
func (s sample) cpuPerUnit() float64 { return float64(s.cpu.total) / 1e3 / s.units }

// coreUse is the share of its core that the proxy used.
func (s sample) coreUse() float64 { return s.cpu.total.Seconds() / s.seconds }

// otherUse is the share of the core that something else used: the noise, or the competitor.
func (s sample) otherUse() float64 { return max(0, s.others.Seconds()/s.seconds) }

func (s sample) rate() float64 { return s.units / s.seconds }

// userShare is the part of the CPU time spent in user space.
func (s sample) userShare() float64 {
	if all := s.cpu.user + s.cpu.system; all > 0 {
		return float64(s.cpu.user) / float64(all)
	}
	return 0
}

// caseResult holds the samples of one case: by label, one per round.
type caseResult struct {
	benchCase
	samples map[string][]sample
	load    string // load averages at its end
}

// runCases runs the chosen cases one after another.
func runCases(ctx context.Context, opts options, t tools, dir string, progress io.Writer) ([]caseResult, error) {
	var out []caseResult
	for _, c := range cases() {
		if !slices.Contains(opts.cases, c.name) {
			continue
		}
		c.entries = slices.DeleteFunc(c.entries, func(e entry) bool { return !slices.Contains(opts.contenders, e.kind) })
		r, err := runCase(ctx, c, opts, t, filepath.Join(dir, c.name), progress)
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", c.name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// runCase starts the upstream and every contender of a case, runs the rounds, and stops them all.
func runCase(ctx context.Context, c benchCase, opts options, t tools, dir string, progress io.Writer) (caseResult, error) {
	result := caseResult{benchCase: c, samples: map[string][]sample{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return result, fmt.Errorf("create folder: %w", err)
	}
	b := bench{
		machine: machine{proxyCPU: opts.proxyCPU, loadCPU: opts.loadCPU, autogroup: opts.autogroup},
		tools:   t, dir: dir,
	}
	upstream, err := b.startNative(ctx, "upstream", dir, opts.loadCPU, t.upstream)
	if err != nil {
		return result, err
	}
	defer upstream.stop()
	b.upstream = upstream.port

	byName := map[string]kind{}
	for _, k := range kinds() {
		byName[k.name] = k
	}
	instances := make([]*instance, len(c.entries))
	for i, e := range c.entries {
		inst, err := b.launch(ctx, byName[e.kind], e.setup, c.work, e.label)
		if err != nil {
			return result, err
		}
		defer inst.stop()
		instances[i] = inst
	}

	for round := range opts.rounds {
		for _, i := range order(round, len(c.entries)) {
			if ctx.Err() != nil {
				return result, fmt.Errorf("stopped: %w", context.Cause(ctx))
			}
			label := c.entries[i].label
			s := b.measure(ctx, c, instances[i], opts)
			result.samples[label] = append(result.samples[label], s)
			if s.err != nil {
				fmt.Fprintf(progress, "%s round %d %s: FAILED: %v\n", c.name, round+1, label, s.err)
				continue
			}
			fmt.Fprintf(progress, "%s round %d %s: %.2f us/%s, core %.2f, others %.2f, %.0f/s\n",
				c.name, round+1, label, s.cpuPerUnit(), c.work.unit(), s.coreUse(), s.otherUse(), s.rate())
		}
	}
	result.load = loadAverage()
	return result, nil
}

// measure does one run. Every failure, and every sign that the run did not do the work of its case, is in err.
func (b bench) measure(ctx context.Context, c benchCase, inst *instance, opts options) sample {
	s, err := b.tryMeasure(ctx, c, inst, opts)
	s.err = err
	return s
}

func (b bench) tryMeasure(ctx context.Context, c benchCase, inst *instance, opts options) (sample, error) {
	var s sample
	limit := time.Duration((3*opts.seconds + 3*opts.warmup + 20) * float64(time.Second))
	if c.contended {
		// The limit ends the competitor even when the harness cannot.
		busy, err := b.machine.start("busy", b.dir, b.machine.proxyCPU, false, b.tools.busy,
			strconv.Itoa(int(limit.Seconds())+1))
		if err != nil {
			return s, err
		}
		defer busy.stop()
	}
	gen, err := b.startLoad(c.work, inst.port, opts)
	if err != nil {
		return s, err
	}
	defer gen.stop()
	if err := gen.ready(ctx, limit); err != nil {
		return s, err
	}

	before, err := b.observe(ctx, inst)
	if err != nil {
		return s, err
	}
	if s.load, err = gen.finish(ctx, limit); err != nil {
		return s, err
	}
	after, err := b.observe(ctx, inst)
	if err != nil {
		return s, err
	}

	s.seconds, s.units = s.load.Seconds, float64(s.load.Requests)
	if c.work.stream {
		s.units = float64(s.load.Records)
	}
	s.cpu = after.cpu.sub(before.cpu)
	s.others = after.core - before.core - s.cpu.total
	return s, checkRun(c.work, s.load, after.served.sub(before.served))
}

// checkRun compares what the generator got with what the upstream served, so that a proxy that answers by itself
// or opens a connection per request is not measured as one that does the work.
func checkRun(w workload, got loadResult, served counters) error {
	if got.Requests == 0 {
		return fmt.Errorf("no request was completed")
	}
	if w.stream && got.Records != got.Requests*streamChunks {
		return fmt.Errorf("%d chunks arrived in %d streams, expected %d each", got.Records, got.Requests, streamChunks)
	}
	if got.exact && served.requests != got.Requests {
		return fmt.Errorf("%d answers, but the upstream served %d requests", got.Requests, served.requests)
	}
	if served.requests < got.Requests {
		return fmt.Errorf("%d answers, but the upstream served only %d requests", got.Requests, served.requests)
	}
	// Connections may grow to one per client connection while a pool fills, and a few may be replaced.
	if allowed := int64(2*w.conns) + got.Requests/20; served.connections > allowed {
		return fmt.Errorf("%d new upstream connections for %d requests: they are not kept alive", served.connections, got.Requests)
	}
	return nil
}

// counters are what the upstream counted since its start.
type counters struct {
	requests, connections int64
}

// sub leaves out the request and the connection by which the later counters were asked for.
func (c counters) sub(o counters) counters {
	return counters{requests: c.requests - o.requests - 1, connections: c.connections - o.connections - 1}
}

// parseCounters reads the upstream's answer to /count.
func parseCounters(text string) (counters, error) {
	var c counters
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return c, fmt.Errorf("parse upstream counters: %q", text)
	}
	var err error
	if c.requests, err = strconv.ParseInt(fields[0], 10, 64); err != nil {
		return c, fmt.Errorf("parse upstream counters: %w", err)
	}
	if c.connections, err = strconv.ParseInt(fields[1], 10, 64); err != nil {
		return c, fmt.Errorf("parse upstream counters: %w", err)
	}
	return c, nil
}

// observation is everything read before and after the measured window.
type observation struct {
	cpu    cpuTime
	core   time.Duration
	served counters
}

func (b bench) observe(ctx context.Context, inst *instance) (observation, error) {
	var o observation
	if !inst.alive() {
		return o, inst.failure("ended")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	text, err := fetch(ctx, b.upstream, "/count", nil)
	if err != nil {
		return o, fmt.Errorf("ask upstream for its counters: %w", err)
	}
	if o.served, err = parseCounters(string(text)); err != nil {
		return o, err
	}
	if o.core, err = coreBusy(b.machine.proxyCPU); err != nil {
		return o, err
	}
	o.cpu, err = treeCPU(inst.pid)
	return o, err
}

// loadResult is what a load generator reports: the JSON line of load.c, or what wrk prints.
type loadResult struct {
	Requests   int64   `json:"requests"`
	BodyBytes  int64   `json:"body_bytes"`
	Reads      int64   `json:"reads"`
	Reconnects int64   `json:"reconnects"`
	Seconds    float64 `json:"seconds"`
	Records    int64   `json:"records"`
	P50        int64   `json:"p50_us"`
	P99        int64   `json:"p99_us"`
	exact      bool    // every request that was sent is in Requests
}

func parseLoadResult(line string) (loadResult, error) {
	var r loadResult
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return r, fmt.Errorf("parse load report %q: %w", line, err)
	}
	r.exact = true
	return r, nil
}
