package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// saturated is the core use above which a request rate says something about the proxy; below it the load
// generator or the upstream was the limit.
const saturated = 0.95

// environment is what a reader needs to judge the numbers.
type environment struct {
	date                  time.Time
	commit                string
	kernel, cpu           string
	cores                 int
	versions              []string // "name version"
	autogroup             string
	loadBefore, loadAfter string
}

func readEnvironment(ctx context.Context, t tools, opts options) environment {
	e := environment{
		date: time.Now(), cores: runtime.NumCPU(), kernel: "unknown", cpu: "unknown",
		commit: "unknown", loadBefore: loadAverage(), autogroup: "as it was",
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		e.kernel = unix.ByteSliceToString(uts.Sysname[:]) + " " + unix.ByteSliceToString(uts.Release[:]) +
			" " + unix.ByteSliceToString(uts.Machine[:])
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		e.cpu = cpuModel(string(text))
	}
	if _, err := os.Stat("/proc/self/autogroup"); err == nil && os.Geteuid() == 0 && opts.autogroup != 0 {
		e.autogroup = fmt.Sprintf("nice %d", opts.autogroup)
	}
	if commit := firstLine(ctx, "git", "rev-parse", "--short=12", "HEAD"); commit != "" {
		e.commit = commit
		if firstLine(ctx, "git", "status", "--porcelain", "--untracked-files=no") != "" {
			e.commit += " with local changes"
		}
	}
	version := func(name, path string, args ...string) {
		if path != "" {
			e.versions = append(e.versions, name+": "+firstLine(ctx, path, args...))
		}
	}
	version("nginx", t.nginx, "-v")
	version("haproxy", t.haproxy, "-v")
	version("wrk", t.wrk, "-v")
	version("sluice", t.sluice, "version")
	version("gcc", "gcc", "--version")
	e.versions = append(e.versions, "go: "+runtime.Version())
	return e
}

// cpuModel finds the first processor's name in the text of /proc/cpuinfo.
func cpuModel(text string) string {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// firstLine runs a program and returns the first line it prints, on whichever stream; wrk -v exits with 1.
func firstLine(ctx context.Context, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, name, args...).CombinedOutput()
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return strings.TrimSpace(string(line))
}

// report renders the results.
type report struct {
	opts    options
	env     environment
	results []caseResult
}

// verdict is the outcome of one gate.
type verdict struct {
	gate
	caseName string
	spread   spread
	passed   bool
}

// measured says whether both sides of the gate ran at least once in the same round.
func (v verdict) measured() bool { return v.spread.n > 0 }

func (r report) verdicts() []verdict {
	var out []verdict
	for _, c := range r.results {
		for _, g := range c.gates {
			s := summarize(ratios(c.samples[g.label], c.samples[g.base], sample.cpuPerUnit))
			out = append(out, verdict{gate: g, caseName: c.name, spread: s, passed: s.n > 0 && s.median <= g.limit})
		}
	}
	return out
}

// gatesPass says whether every gate of the cases that were run was measured and held.
func (r report) gatesPass() bool {
	for _, v := range r.verdicts() {
		if !v.passed {
			return false
		}
	}
	return true
}

// failures counts the runs that failed.
func (r report) failures() int {
	n := 0
	for _, c := range r.results {
		for _, samples := range c.samples {
			for _, s := range samples {
				if s.err != nil {
					n++
				}
			}
		}
	}
	return n
}

func (r report) markdown() string {
	var b strings.Builder
	r.writeHead(&b)
	r.writeGates(&b)
	for _, c := range r.results {
		writeCase(&b, c)
	}
	r.writeFailures(&b)
	return b.String()
}

func (r report) writeHead(b *strings.Builder) {
	e := r.env
	fmt.Fprintf(b, "# HTTP benchmark, %s\n\n", e.date.UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(b, "CPU time of the proxy per request, as ratios within a round; `benchmarks/README.md` tells the method.\n\n")
	generator := "own generator (load.c)"
	if r.opts.wrk {
		generator = "wrk for the keep-alive cases (cross-check), else own generator (load.c)"
	}
	fmt.Fprintf(b, "- commit: %s\n", e.commit)
	fmt.Fprintf(b, "- machine: %s, %d cores, %s\n", e.cpu, e.cores, e.kernel)
	fmt.Fprintf(b, "- load average: %s before, %s after; autogroups: %s\n", e.loadBefore, e.loadAfter, e.autogroup)
	fmt.Fprintf(b, "- rounds: %d of %g s each, warm-up %g s; proxy on core %d, upstream and load on core %d; %s\n",
		r.opts.rounds, r.opts.seconds, r.opts.warmup, r.opts.proxyCPU, r.opts.loadCPU, generator)
	for _, v := range e.versions {
		fmt.Fprintf(b, "- %s\n", v)
	}
	if n := r.failures(); n > 0 {
		fmt.Fprintf(b, "- **%d runs failed**, see the end\n", n)
	}
	b.WriteString("\n")
}

func (r report) writeGates(b *strings.Builder) {
	verdicts := r.verdicts()
	if len(verdicts) == 0 {
		return
	}
	b.WriteString("## Thresholds\n\n| case | ratio of CPU | at most | measured [range], rounds | verdict |\n|---|---|---|---|---|\n")
	for _, v := range verdicts {
		word := "pass"
		switch {
		case !v.measured():
			word = "not measured"
		case !v.passed:
			word = "**FAIL**"
		}
		fmt.Fprintf(b, "| %s | %s / %s | %.2f | %s | %s |\n", v.caseName, v.label, v.base, v.limit, ratioText(v.spread, true), word)
	}
	b.WriteString("\n")
}

func writeCase(b *strings.Builder, c caseResult) {
	fmt.Fprintf(b, "## %s: %s\n\n", c.name, c.title)
	unit := c.work.unit()
	others := "others on the core"
	if c.contended {
		others = "others on the core, competitor included"
	}
	fmt.Fprintf(b, "| contender | CPU us/%s [range] | user | / nginx | / haproxy | / floor | core use | %ss/s | %s |", unit, unit, others)
	rule := "\n|---|---|---|---|---|---|---|---|---|"
	if c.work.stream {
		b.WriteString(" p50 / p99 ms | reads/chunk |")
		rule += "---|---|"
	}
	b.WriteString(rule + "\n")
	for _, e := range c.entries {
		samples := c.samples[e.label]
		cpu := summarize(column(samples, sample.cpuPerUnit))
		if cpu.n == 0 {
			fmt.Fprintf(b, "| %s | failed |\n", e.label)
			continue
		}
		use := summarize(column(samples, sample.coreUse)).median
		fmt.Fprintf(b, "| %s | %.2f [%.2f-%.2f] | %.0f %% |", e.label, cpu.median, cpu.low, cpu.high,
			100*summarize(column(samples, sample.userShare)).median)
		for _, base := range []string{"nginx", "haproxy", "floor"} {
			text := "1"
			if e.label != base {
				text = ratioText(summarize(ratios(samples, c.samples[base], sample.cpuPerUnit)), false)
			}
			fmt.Fprintf(b, " %s |", text)
		}
		rate := "-"
		if use > saturated {
			rate = fmt.Sprintf("%.0f", summarize(column(samples, sample.rate)).median)
		}
		fmt.Fprintf(b, " %.2f | %s | %.2f |", use, rate, summarize(column(samples, sample.otherUse)).median)
		if c.work.stream {
			ms := func(v func(sample) float64) float64 { return summarize(column(samples, v)).median }
			fmt.Fprintf(b, " %.2f / %.2f | %.2f |",
				ms(func(s sample) float64 { return float64(s.load.P50) / 1e3 }),
				ms(func(s sample) float64 { return float64(s.load.P99) / 1e3 }),
				ms(func(s sample) float64 { return float64(s.load.Reads) / s.units }))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(b, "\nLoad average at its end: %s.\n\n", c.load)
}

func (r report) writeFailures(b *strings.Builder) {
	if r.failures() == 0 {
		return
	}
	b.WriteString("## Failed runs\n\n")
	for _, c := range r.results {
		for _, e := range c.entries {
			for round, s := range c.samples[e.label] {
				if s.err != nil {
					fmt.Fprintf(b, "- %s, %s, round %d: %v\n", c.name, e.label, round+1, s.err)
				}
			}
		}
	}
}

// ratioText prints a median and its range, or a dash when there is none.
func ratioText(s spread, rounds bool) string {
	if s.n == 0 || math.IsNaN(s.median) {
		return "-"
	}
	text := fmt.Sprintf("%.2f [%.2f-%.2f]", s.median, s.low, s.high)
	if rounds {
		text += fmt.Sprintf(", %d", s.n)
	}
	return text
}
