package main

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseFlags(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string // part of the error; "" means accepted
	}{
		{"defaults", nil, ""},
		{"some cases", []string{"-cases", "plain4, routes", "-contenders", "nginx"}, ""},
		{"unknown case", []string{"-cases", "plain5"}, `no case "plain5"; there are: plain64`},
		{"unknown contender", []string{"-contenders", "envoy"}, `no contender "envoy"`},
		{"no rounds", []string{"-rounds", "0"}, "-rounds must be"},
		{"endless run", []string{"-seconds", "1e9"}, "-seconds must be"},
		{"one core for all", []string{"-load-cpu", "0"}, "must differ"},
		{"stray argument", []string{"fast"}, `unexpected argument "fast"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseFlags(tc.args, io.Discard)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestReportPath(t *testing.T) {
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := []string{reportPath("results", date), reportPath("a/b.md", date)}
	if diff := cmp.Diff([]string{filepath.Join("results", "http-2026-01-02-0304.md"), "a/b.md"}, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestParseWrk(t *testing.T) {
	const summary = "Running 2s test @ http://127.0.0.1:1/1k\n  1 threads and 64 connections\n" +
		"  61234 requests in 2.10s, 70.00MB read\n"
	for _, tc := range []struct {
		name, text string
		want       loadResult
		fails      bool
	}{
		{name: "clean", text: summary, want: loadResult{Requests: 61234, Seconds: 2.1}},
		{name: "milliseconds", text: "  12 requests in 900.00ms, 1.00KB read\n", want: loadResult{Requests: 12, Seconds: 0.9}},
		{name: "statuses", text: summary + "  Non-2xx or 3xx responses: 3\n", fails: true},
		{name: "sockets", text: summary + "  Socket errors: connect 0, read 1, write 0, timeout 0\n", fails: true},
		{name: "no summary", text: "unable to connect\n", fails: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseWrk(tc.text)
			if (err != nil) != tc.fails {
				t.Fatalf("error %v, want failure %v", err, tc.fails)
			}
			if err == nil {
				if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(loadResult{}), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestCheckRun(t *testing.T) {
	plain := workload{conns: 64}
	for _, tc := range []struct {
		name   string
		work   workload
		got    loadResult
		served counters
		want   string
	}{
		{"equal", plain, loadResult{Requests: 5000, exact: true}, counters{5000, 64}, ""},
		{"the proxy answered by itself", plain, loadResult{Requests: 5000, exact: true}, counters{4999, 64}, "served 4999"},
		{"the proxy asked twice", plain, loadResult{Requests: 5000, exact: true}, counters{5001, 64}, "served 5001"},
		{"wrk leaves out what is in flight", plain, loadResult{Requests: 5000}, counters{5040, 64}, ""},
		{"upstream connections not reused", plain, loadResult{Requests: 5000, exact: true}, counters{5000, 5000}, "not kept alive"},
		{"nothing", plain, loadResult{exact: true}, counters{}, "no request"},
		{"chunk lost", workload{conns: 1, stream: true}, loadResult{Requests: 2, Records: 199, exact: true}, counters{2, 1}, "199 chunks"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := checkRun(tc.work, tc.got, tc.served)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestCheckForwarded(t *testing.T) {
	for _, tc := range []struct{ name, head, want string }{
		{"as it should be", "GET /head HTTP/1.1\r\nHost: a\r\nx-forwarded-for: 127.0.0.1\r\n\r\n", ""},
		{"no client address", "GET /head HTTP/1.1\r\nHost: a\r\n\r\n", "lacks X-Forwarded-For"},
		{"old protocol", "GET /head HTTP/1.0\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", "not HTTP/1.1"},
		{"no keep-alive", "GET /head HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\nConnection: close\r\n\r\n", "closes its connection"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := checkForwarded(tc.head)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestReportVerdicts(t *testing.T) {
	c := benchCase{name: "plain64", entries: everyone(setup{routes: 1}), gates: []gate{
		{"sluice", "nginx", 0.95}, {"sluice", "haproxy", 0.95}, {"sluice", "floor", 1.2},
	}}
	rep := report{results: []caseResult{{benchCase: c, samples: map[string][]sample{
		"nginx":   {took(100), took(100), took(100)},
		"haproxy": {took(80), took(80), took(80)},
		"sluice":  {took(80), took(90), took(200)},
	}}}}
	var got []string
	for line := range strings.Lines(rep.markdown()) {
		if strings.HasPrefix(line, "| plain64 |") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		"| plain64 | sluice / nginx | 0.95 | 0.90 [0.80-2.00], 3 | pass |",
		"| plain64 | sluice / haproxy | 0.95 | 1.12 [1.00-2.50], 3 | **FAIL** |",
		"| plain64 | sluice / floor | 1.20 | - | not measured |",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	if rep.gatesPass() {
		t.Error("a missed threshold counts as passed")
	}
}

// TestFloorEndToEnd runs the real programs: every kind of load through the floor proxy.
func TestFloorEndToEnd(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two cores")
	}
	for _, tc := range []struct {
		name  string
		needs []string
		args  []string
	}{
		{
			name:  "own generator",
			needs: []string{"gcc"},
			args:  []string{"-seconds", "0.2", "-cases", "plain4,contended,routes,body1m,chunks,newconn"},
		},
		{
			name:  "wrk",
			needs: []string{"gcc", "wrk"},
			args:  []string{"-seconds", "1", "-wrk", "-cases", "routes,chain"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, program := range tc.needs {
				if _, err := exec.LookPath(program); err != nil {
					t.Skipf("%s is not installed; run scripts/install-test-deps", program)
				}
			}
			opts, err := parseFlags(append(tc.args, "-rounds", "1", "-warmup", "0.05", "-autogroup", "0",
				"-contenders", "floor", "-out", t.TempDir()), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var out, progress bytes.Buffer
			ok, err := run(ctx, opts, &out, &progress)
			if err != nil || !ok {
				t.Fatalf("ok %v, error %v\n%s", ok, err, &progress)
			}
			if got := strings.Count(out.String(), "\n| floor |"); got != len(opts.cases) {
				t.Errorf("%d rows for %d cases:\n%s", got, len(opts.cases), &out)
			}
			if files, _ := filepath.Glob(filepath.Join(opts.out, "http-*.md")); len(files) != 1 {
				t.Errorf("report files: %v", files)
			}
		})
	}
}
