// Command http measures what a proxied HTTP request costs in nginx, HAProxy and Sluice, side by side on one
// machine: CPU time of the proxy's processes divided by the requests it served, in interleaved rounds, reported
// as per-round ratios. benchmarks/README.md tells the method and how to read the result.
//
// The parts: cases.go lists the workloads and the thresholds, contender.go and config.go start the proxies with
// equal work, sluice.go drives Sluice through its command line and Admin API, round.go measures one run,
// upstream.c, floor.c, load.c and busy.c are the native programs around them, report.go prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the command line of the benchmark.
type options struct {
	rounds     int
	seconds    float64
	warmup     float64
	cases      []string
	contenders []string
	sluice     string
	out        string
	gate       bool
	wrk        bool
	proxyCPU   int
	loadCPU    int
	autogroup  int
}

func main() {
	opts, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "http benchmark:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ok, err := run(ctx, opts, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "http benchmark:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

// parseFlags reads the command line; usage and errors go to w.
func parseFlags(args []string, w io.Writer) (options, error) {
	var o options
	var cases, contenders string
	fs := flag.NewFlagSet("http", flag.ContinueOnError)
	fs.SetOutput(w)
	fs.IntVar(&o.rounds, "rounds", 5, "rounds; in each of them every contender runs once")
	fs.Float64Var(&o.seconds, "seconds", 2, "length of one run, in seconds")
	fs.Float64Var(&o.warmup, "warmup", 0.3, "length of the warm-up before a run, in seconds")
	fs.StringVar(&cases, "cases", "all", "cases to run, separated by commas: "+strings.Join(caseNames(), ", "))
	fs.StringVar(&contenders, "contenders", strings.Join(kindNames(), ","), "contenders to run, separated by commas")
	fs.StringVar(&o.sluice, "sluice", "", "path of a sluice binary (default: build ./cmd/sluice)")
	fs.StringVar(&o.out, "out", "benchmarks/results", "folder or .md file for the report, or - for none")
	fs.BoolVar(&o.gate, "gate", false, "exit with code 1 when a threshold is missed or was not measured")
	fs.BoolVar(&o.wrk, "wrk", false, "cross-check: drive the keep-alive cases with wrk instead of our own generator")
	fs.IntVar(&o.proxyCPU, "proxy-cpu", 0, "core of the proxies")
	fs.IntVar(&o.loadCPU, "load-cpu", 1, "core of the upstream, the load generator and the harness")
	fs.IntVar(&o.autogroup, "autogroup", -10, "autogroup nice value of every process measured or loading (root only)")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; see -help", fs.Arg(0))
	}
	var err error
	if o.cases, err = pick("case", cases, caseNames()); err != nil {
		return o, err
	}
	if o.contenders, err = pick("contender", contenders, kindNames()); err != nil {
		return o, err
	}
	switch {
	case o.rounds < 1 || o.rounds > 100:
		return o, fmt.Errorf("-rounds must be 1 to 100, not %d", o.rounds)
	case o.seconds < 0.2 || o.seconds > 60:
		return o, fmt.Errorf("-seconds must be 0.2 to 60, not %g", o.seconds)
	case o.warmup < 0 || o.warmup > 10:
		return o, fmt.Errorf("-warmup must be 0 to 10, not %g", o.warmup)
	case o.proxyCPU == o.loadCPU:
		return o, errors.New("-proxy-cpu and -load-cpu must differ: the load would be measured too")
	}
	return o, nil
}

// pick resolves a comma-separated list against the known names, keeping the order of known.
func pick(what, list string, known []string) ([]string, error) {
	if list == "all" {
		return known, nil
	}
	want := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		want[strings.TrimSpace(name)] = true
	}
	var out []string
	for _, name := range known {
		if want[name] {
			out = append(out, name)
			delete(want, name)
		}
	}
	for name := range want {
		return nil, fmt.Errorf("no %s %q; there are: %s", what, name, strings.Join(known, ", "))
	}
	return out, nil
}

// run does the whole benchmark. It reports false when a run failed or, with -gate, a threshold was missed.
func run(ctx context.Context, opts options, stdout, progress io.Writer) (bool, error) {
	if runtime.NumCPU() < 2 {
		return false, errors.New("two cores are needed: one for the proxy, one for the load")
	}
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return false, fmt.Errorf("create temporary folder: %w", err)
	}
	defer os.RemoveAll(dir)

	fmt.Fprintln(progress, "building")
	tools, err := buildTools(ctx, dir, opts)
	if err != nil {
		return false, err
	}
	env := readEnvironment(ctx, tools, opts)

	// The builds may use every core; from here on the harness itself stays off the proxy's core.
	if err := pinSelf(opts.loadCPU); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit(opts))
	defer cancel()
	results, err := runCases(ctx, opts, tools, dir, progress)
	if err != nil {
		return false, err
	}
	env.loadAfter = loadAverage()

	rep := report{opts: opts, env: env, results: results}
	text := rep.markdown()
	fmt.Fprint(stdout, text)
	if opts.out != "-" {
		path := reportPath(opts.out, env.date)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return false, fmt.Errorf("create results folder: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return false, fmt.Errorf("write report: %w", err)
		}
		fmt.Fprintln(progress, "written to", path)
	}
	ok := rep.failures() == 0
	if opts.gate && !rep.gatesPass() {
		ok = false
	}
	return ok, nil
}

// timeLimit bounds the whole measurement: what the runs take when all is well, doubled, and a fixed allowance
// for starting contenders.
func timeLimit(o options) time.Duration {
	perRun := o.seconds + o.warmup + 2
	runs := float64(o.rounds * len(o.cases) * (len(o.contenders) + 1))
	return time.Duration(2*perRun*runs*float64(time.Second)) + time.Duration(len(o.cases))*time.Minute
}

// reportPath is the file of the report: out itself when it names a Markdown file, else a dated file in it.
func reportPath(out string, date time.Time) string {
	if strings.HasSuffix(out, ".md") {
		return out
	}
	return filepath.Join(out, "http-"+date.UTC().Format("2006-01-02-1504")+".md")
}
