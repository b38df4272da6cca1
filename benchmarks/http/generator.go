package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// generator is one run of a load generator. ready returns when the warm-up is over and everything is idle,
// finish runs the measured load and returns its result; stop ends the program in any case.
type generator interface {
	ready(ctx context.Context, limit time.Duration) error
	finish(ctx context.Context, limit time.Duration) (loadResult, error)
	stop()
}

// startLoad starts the load generator of a workload: our own, or wrk where that was asked for and can do it.
func (b bench) startLoad(w workload, port int, opts options) (generator, error) {
	if opts.wrk && w.mode == keepAlive {
		return b.newWrk(w, port, opts)
	}
	args := []string{
		"-p", strconv.Itoa(port), "-u", w.target, "-l", strconv.Itoa(w.length), "-m", string(w.mode),
		"-r", strconv.Itoa(w.routes), "-c", strconv.Itoa(w.conns),
		"-t", strconv.FormatFloat(opts.seconds, 'f', -1, 64), "-w", strconv.FormatFloat(opts.warmup, 'f', -1, 64),
	}
	if w.apiKey {
		args = append(args, "-H", "apikey: "+apiKey)
	}
	p, err := b.machine.start("load", b.dir, b.machine.loadCPU, true, b.tools.load, args...)
	if err != nil {
		return nil, err
	}
	return ownLoad{p}, nil
}

// ownLoad is a running load.c.
type ownLoad struct {
	*process
}

func (g ownLoad) ready(ctx context.Context, limit time.Duration) error {
	line, err := g.readLine(ctx, limit)
	if err != nil {
		return err
	}
	if line != "ready" {
		return fmt.Errorf("load said %q instead of ready", line)
	}
	return nil
}

func (g ownLoad) finish(ctx context.Context, limit time.Duration) (loadResult, error) {
	if _, err := g.stdin.Write([]byte("go\n")); err != nil {
		return loadResult{}, fmt.Errorf("start load: %w", err)
	}
	line, err := g.readLine(ctx, limit)
	if err != nil {
		return loadResult{}, err
	}
	return parseLoadResult(line)
}

// wrkLoad runs wrk. It opens its connections inside the measured window and leaves out the requests that are in
// flight at its end, which is why it is the cross-check and not the rule.
type wrkLoad struct {
	b       bench
	args    []string
	process *process
}

func (b bench) newWrk(w workload, port int, opts options) (*wrkLoad, error) {
	g := &wrkLoad{b: b, args: []string{
		"-t", "1", "-c", strconv.Itoa(w.conns), "-d", strconv.Itoa(max(1, int(opts.seconds+0.5))) + "s",
	}}
	if w.apiKey {
		g.args = append(g.args, "-H", "apikey: "+apiKey)
	}
	if w.routes > 1 {
		script := filepath.Join(b.dir, "routes.lua")
		if err := os.WriteFile(script, []byte(wrkScript(w)), 0o644); err != nil {
			return nil, fmt.Errorf("write wrk script: %w", err)
		}
		g.args = append(g.args, "-s", script)
	}
	g.args = append(g.args, fmt.Sprintf("http://127.0.0.1:%d%s", port, strings.ReplaceAll(w.target, "%d", "0")))
	return g, nil
}

// wrkScript walks through the routes in the same order as load.c. wrk calls init after it has set the Host header.
func wrkScript(w workload) string {
	return fmt.Sprintf(`local wire, i = {}, 0
init = function(args)
  for r = 0, %[1]d - 1 do wire[r] = wrk.format("GET", string.format(%[2]q, r)) end
end
request = function()
  i = (i + 617) %% %[1]d
  return wire[i]
end
`, w.routes, w.target)
}

func (g *wrkLoad) ready(context.Context, time.Duration) error { return nil }

func (g *wrkLoad) finish(ctx context.Context, limit time.Duration) (loadResult, error) {
	var err error
	m := g.b.machine
	if g.process, err = m.start("wrk", g.b.dir, m.loadCPU, true, g.b.tools.wrk, g.args...); err != nil {
		return loadResult{}, err
	}
	var out strings.Builder
	for {
		line, err := g.process.readLine(ctx, limit)
		if err != nil && !g.process.alive() && g.process.err == nil {
			return parseWrk(out.String())
		}
		if err != nil {
			return loadResult{}, err
		}
		out.WriteString(line + "\n")
	}
}

func (g *wrkLoad) stop() {
	if g.process != nil {
		g.process.stop()
	}
}

var (
	wrkTotal  = regexp.MustCompile(`(?m)^\s*(\d+) requests in ([\d.]+)(ms|s|m),`)
	wrkErrors = regexp.MustCompile(`(?m)^\s*(Socket errors:.*|Non-2xx or 3xx responses:.*)$`)
)

// parseWrk reads wrk's summary. Its two lines about errors appear only when there were some.
func parseWrk(text string) (loadResult, error) {
	var r loadResult
	if bad := wrkErrors.FindString(text); bad != "" {
		return r, fmt.Errorf("wrk: %s", strings.TrimSpace(bad))
	}
	m := wrkTotal.FindStringSubmatch(text)
	if m == nil {
		return r, fmt.Errorf("parse wrk output: no summary in %q", text)
	}
	var err error
	if r.Requests, err = strconv.ParseInt(m[1], 10, 64); err != nil {
		return r, fmt.Errorf("parse wrk output: %w", err)
	}
	if r.Seconds, err = strconv.ParseFloat(m[2], 64); err != nil {
		return r, fmt.Errorf("parse wrk output: %w", err)
	}
	r.Seconds *= map[string]float64{"ms": 1e-3, "s": 1, "m": 60}[m[3]]
	return r, nil
}
