package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"syscall"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-gateway/sluice/l4/steer"
)

// sockets are listeners by name: "http" is the first of its kind, "http:9080" the one with that port.
type sockets map[string]syscall.Conn

func (s *sockets) add(kind string, port int, c syscall.Conn) {
	if *s == nil {
		*s = sockets{}
	}
	for _, name := range []string{kind, kind + ":" + strconv.Itoa(port)} {
		if (*s)[name] == nil {
			(*s)[name] = c
		}
	}
}

// startSteering puts the rules of sluice.l4.steer and the sockets that they name into the kernel. A kernel that cannot steer is no reason not to serve what is listened on.
func (g *gateway) startSteering() error {
	l4 := &g.conf.Sluice.L4
	if len(l4.Steer) == 0 {
		return nil
	}
	var rules []steer.Rule
	for i, s := range l4.Steer {
		if g.sockets[s.To] == nil {
			return fmt.Errorf("sluice.l4.steer[%d].to: there is no listener %s: name one of %v", i, s.To, slices.Sorted(maps.Keys(g.sockets)))
		}
		r := steer.Rule{Proto: steer.TCP, Prefix: s.Prefix, Lo: s.Lo, Hi: s.Hi, Group: s.To}
		if s.UDP {
			r.Proto = steer.UDP
		}
		rules = append(rules, r)
	}
	if err := steer.Check(rules); err != nil {
		return fmt.Errorf("sluice.l4.steer: %w", err)
	}
	st, err := steer.Open(l4.PinDir)
	if errors.Is(err, steer.ErrUnavailable) {
		g.logger.Error("nothing is steered to the listeners, see sluice.l4.steer", "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("sluice.l4.steer: %w", err)
	}
	g.steer = st
	// The sockets first: a rule that comes into force has one.
	for _, r := range rules {
		if err := st.SetSocket(r.Group, g.sockets[r.Group]); err != nil {
			return fmt.Errorf("sluice.l4.steer: %w", err)
		}
	}
	if err := st.Put(rules); err != nil {
		return fmt.Errorf("sluice.l4.steer: %w", err)
	}
	for _, r := range rules {
		g.logger.Info("steering", "rule", r.String())
	}
	return nil
}

const l4Usage = `usage: sluice l4 status|detach [--config FILE]

What sluice.l4 puts into the kernel stays there when the gateway ends, so that a restart or an upgrade interrupts nothing. status shows
what of it is there and what it has done; detach takes it out.

flags:
  --config FILE   the configuration file; sluice.l4.pin_dir is where the kernel's objects are found

exit codes:
  0  done
  1  the kernel's objects cannot be read or removed
  2  the command line is wrong`

func cmdL4(_ context.Context, e *env, args []string) int {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	fs := flag.NewFlagSet("l4", flag.ContinueOnError)
	path := fs.String("config", "", "")
	switch verb {
	case "status", "detach":
	case "-h", "-help", "--help":
		fmt.Fprintln(e.Stdout, l4Usage)
		return exitOK
	default:
		fmt.Fprintf(e.Stderr, "sluice l4: %q is neither status nor detach: see sluice help l4\n", verb)
		return exitUsage
	}
	if code, done := parseFlags(e, "l4", fs, args); done {
		return code
	}
	conf, _, ok := loadConfig(e, *path)
	if !ok {
		return exitError
	}
	dir := conf.Sluice.L4.PinDir
	if verb == "detach" {
		if err := steer.Detach(dir); err != nil {
			fmt.Fprintf(e.Stderr, "sluice l4: %v\n", err)
			return exitError
		}
		fmt.Fprintf(e.Stdout, "nothing is pinned in %s any more\n", dir)
		return exitOK
	}
	return l4Status(e, dir)
}

func l4Status(e *env, dir string) int {
	counts, ok, err := steer.Inspect(dir)
	if err != nil {
		fmt.Fprintf(e.Stderr, "sluice l4: %v\n", err)
		return exitError
	}
	if !ok {
		fmt.Fprintf(e.Stdout, "nothing is pinned in %s\n", dir)
		return exitOK
	}
	fmt.Fprintf(e.Stdout, "steering, pinned in %s\n", dir)
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(e.Stdout, "  %-12s %d steered, %d without a socket\n", name, counts[name].Steered, counts[name].Unserved)
	}
	return exitOK
}

// steerCollector collects what was steered.
type steerCollector struct{ s *steer.Steerer }

var (
	descSteered  = desc("sluice_steered_total", "Connections and datagrams that sk_lookup handed to a listener", "listener")
	descUnserved = desc("sluice_steer_unserved_total", "Connections and datagrams of a rule whose listener was not there", "listener")
)

// Describe implements client_golang's Collector.
func (*steerCollector) Describe(ch chan<- *client.Desc) {
	ch <- descSteered
	ch <- descUnserved
}

// Collect implements client_golang's Collector.
func (c *steerCollector) Collect(ch chan<- client.Metric) {
	counts, err := c.s.Counters()
	if err != nil {
		ch <- client.NewInvalidMetric(descSteered, err)
		return
	}
	for name, n := range counts {
		ch <- client.MustNewConstMetric(descSteered, client.CounterValue, float64(n.Steered), name)
		ch <- client.MustNewConstMetric(descUnserved, client.CounterValue, float64(n.Unserved), name)
	}
}
