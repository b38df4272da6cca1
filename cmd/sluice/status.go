package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/control/statusapi"
)

const statusUsage = `usage: sluice status [--config FILE] [--json]

Ask the running gateway how it is: its health, the objects that it serves, those that it cannot serve and why, and its counters. The
configuration file tells where its control API listens (apisix.control, 127.0.0.1:9090 by default).

flags:
  --config FILE   the configuration file of the running gateway
  --json          print the answer as JSON

exit codes:
  0  healthy
  1  degraded, or no gateway answers
  2  the command line is wrong`

func cmdStatus(ctx context.Context, e *env, args []string) int {
	fs := flag.NewFlagSet("status", flag.ContinueOnError)
	path := fs.String("config", "", "")
	asJSON := fs.Bool("json", false, "")
	if code, done := parseFlags(e, "status", fs, args); done {
		return code
	}
	conf, _, ok := loadConfig(e, *path)
	if !ok {
		return exitError
	}
	addr := conf.APISIX.Control
	if addr.IP == "" || addr.IP == "0.0.0.0" || addr.IP == "::" {
		addr.IP = "127.0.0.1"
	}
	raw, err := fetchStatus(ctx, "http://"+addr.String()+"/v1/sluice/status")
	if err != nil {
		fmt.Fprintf(e.Stderr, "sluice status: %v\nIs the gateway running, with apisix.enable_control on, and is this its configuration file?\n", err)
		return exitError
	}
	var st statusapi.State
	if err := json.Unmarshal(raw, &st); err != nil {
		fmt.Fprintf(e.Stderr, "sluice status: read the answer of %s: %v\n", addr, err)
		return exitError
	}
	if *asJSON {
		fmt.Fprintln(e.Stdout, strings.TrimSpace(string(raw)))
	} else {
		printStatus(e.Stdout, st)
	}
	if st.Health != "healthy" {
		return exitError
	}
	return exitOK
}

// maxStatus bounds what is read of an answer.
const maxStatus = 16 << 20

func fetchStatus(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return raw, nil
}

func printStatus(w io.Writer, st statusapi.State) {
	fmt.Fprintf(w, "%s, sluice %s, up %s\n", st.Health, st.Version, (time.Duration(st.Uptime) * time.Second).String())
	fmt.Fprintf(w, "configuration: revision %d, serving %d, %d commits, %d updates refused\n", st.Revision, st.Served, st.Commits, st.Refused)
	if st.StoreError != "" {
		fmt.Fprintf(w, "store: %s\n", st.StoreError)
	}
	for _, kind := range slices.Sorted(maps.Keys(st.Objects)) {
		fmt.Fprintf(w, "  %-16s %d\n", kind, st.Objects[kind])
	}
	for _, p := range st.Planes {
		fmt.Fprintf(w, "plane %s: %s", p.Name, p.Health)
		if p.LastError != "" {
			fmt.Fprintf(w, ", last refusal: %s", p.LastError)
		}
		fmt.Fprintln(w)
	}
	if counters, ok := st.Counters.(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(counters)) {
			fmt.Fprintf(w, "  %-24s %v\n", name, counters[name])
		}
	}
	if len(st.Problems) > 0 {
		fmt.Fprintf(w, "%d objects are not served as they are stored:\n", len(st.Problems))
		for _, p := range st.Problems {
			fmt.Fprintf(w, "  %s: %s\n", p.Key, p.Error)
		}
	}
}
