package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// TestIdempotent is the table of RFC 9110 section 9.2.2, and PROPFIND of RFC 4918 section 9.1.
func TestIdempotent(t *testing.T) {
	for method, want := range map[string]bool{"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true, "PROPFIND": true,
		"POST": false, "PATCH": false, "LOCK": false, "MKCOL": false, "CONNECT": false, "get": false, "": false} {
		if got := Idempotent([]byte(method)); got != want {
			t.Errorf("%q: %v", method, got)
		}
	}
}

// TestNextNode goes through the decisions whether to try another node.
func TestNextNode(t *testing.T) {
	const sent, bodySent = true, true
	retries := func(n int) *int { return &n }
	for _, tc := range []struct {
		name     string
		method   string
		nodes    int // 0 for 3
		retries  *int
		timeout  float64 // retry_timeout, seconds
		now      time.Duration
		sent     bool
		bodySent bool
		status   int
		attempts int // that may follow the first one
	}{
		{name: "one less than there are nodes", method: "GET", status: 502, attempts: 2},
		{name: "as configured", method: "GET", retries: retries(1), status: 502, attempts: 1},
		// apisix/balancer/roundrobin.lua: "all upstream servers tried".
		{name: "more than nodes", method: "GET", retries: retries(5), status: 502, attempts: 2},
		{name: "switched off", method: "GET", retries: retries(0), status: 502, attempts: 0},
		{name: "bounded", method: "GET", nodes: 70, retries: retries(1_000_000), status: 502, attempts: 64},
		{name: "bounded without a configured number", method: "GET", nodes: 70, status: 502, attempts: 64},
		{name: "timeout", method: "GET", status: 504, attempts: 2},
		{name: "POST that no node has seen", method: "POST", status: 502, attempts: 2},
		{name: "POST that a node may have seen", method: "POST", sent: sent, status: 502, attempts: 0},
		{name: "PATCH that a node may have seen", method: "PATCH", sent: sent, status: 504, attempts: 0},
		{name: "GET that a node may have seen", method: "GET", sent: sent, status: 502, attempts: 2},
		{name: "PUT that a node may have seen", method: "PUT", sent: sent, status: 502, attempts: 2},
		{name: "part of a body has gone", method: "PUT", sent: sent, bodySent: bodySent, status: 502, attempts: 0},
		{name: "part of a body has gone to a node that saw no head", method: "GET", bodySent: bodySent, status: 502, attempts: 0},
		{name: "within retry_timeout", method: "GET", timeout: 2, now: 1999 * time.Millisecond, status: 502, attempts: 2},
		{name: "retry_timeout is over", method: "GET", timeout: 2, now: 2 * time.Second, status: 502, attempts: 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			count := tc.nodes
			if count == 0 {
				count = 3
			}
			var list []string
			for i := range count {
				list = append(list, fmt.Sprintf("10.0.0.%d:80", i+1))
			}
			s := site{upstream: &snapshot.Upstream{Type: "roundrobin", Nodes: nodes(list...), Retries: tc.retries, RetryTimeout: tc.timeout}}
			x := begin(t, s.engine(t), message(tc.method+" /hello HTTP/1.1", "Host: a.example"))
			if v := x.Step(); v != Proxy {
				t.Fatal(v)
			}
			began := x.Now
			x.Now = began + int64(tc.now)
			seen := map[string]int{x.Upstream.Node: 1}
			n := 0
			for x.NextNode(tc.status, tc.sent, tc.bodySent) {
				if n++; n > 100 {
					t.Fatal("it does not end")
				}
				seen[x.Upstream.Node]++
				if x.Answering() {
					t.Fatal("answering and trying")
				}
				if x.Upstream.Addr != x.Node.Addr {
					t.Errorf("address %v of node %v", x.Upstream.Addr, x.Node.Addr)
				}
			}
			if n != tc.attempts {
				t.Errorf("%d more attempts, want %d", n, tc.attempts)
			}
			if want := tc.attempts + 1; len(seen) != want {
				t.Errorf("the attempts went to %v, want %d different nodes", seen, want)
			}
			if !x.Answering() || x.Response.Status != tc.status || x.Source != plugin.SourceProxy {
				t.Errorf("at the end: answering %v, %d, source %v", x.Answering(), x.Response.Status, x.Source)
			}
		})
	}
}

// TestRetriesHoldOneNode tests that a node is given back when another is tried.
func TestRetriesHoldOneNode(t *testing.T) {
	s := site{upstream: &snapshot.Upstream{Type: "least_conn", Nodes: nodes("10.0.0.1:80", "10.0.0.2:80")}}
	x := begin(t, s.engine(t), get)
	x.Step()
	held := func() (list []int64) {
		for _, n := range x.Up.Nodes() {
			list = append(list, n.InFlight())
		}
		return list
	}
	var got []string
	got = append(got, fmt.Sprint(held()))
	x.NextNode(502, false, false)
	got = append(got, fmt.Sprint(held()))
	x.NextNode(502, false, false)
	x.End()
	got = append(got, fmt.Sprint(held()))
	if diff := cmp.Diff([]string{"[1 0]", "[0 1]", "[0 0]"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestUpstreamStatus tests X-APISIX-Upstream-Status: apisix/init.lua set_resp_upstream_status.
func TestUpstreamStatus(t *testing.T) {
	for _, tc := range []struct {
		name     string
		attempts []int // status of each, 0 for none
		response int
		always   bool
		want     string
	}{
		{"no attempt", nil, 404, true, ""},
		{"good", []int{200}, 200, false, ""},
		{"good, always shown", []int{200}, 200, true, "200"},
		{"404 is no failure", []int{404}, 404, false, ""},
		{"failed", []int{500}, 500, false, "500"},
		{"599 is the last failure", []int{599}, 599, false, "599"},
		{"no answer", []int{0}, 502, false, "502"},
		{"no answer, then a failure", []int{0, 503}, 503, false, "503, 503"},
		{"no answer, then a good one", []int{0, 200}, 200, false, ""},
		{"no answer, then a good one, always shown", []int{0, 200}, 200, true, "200, 200"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := begin(t, site{conf: Config{ShowUpstreamStatus: tc.always}}.engine(t), get)
			x.Response.Status = tc.response
			for _, s := range tc.attempts {
				x.Upstream.Attempts = append(x.Upstream.Attempts, plugin.Attempt{Status: s})
			}
			x.FilterHead()
			if got := string(x.Response.Header.Get("X-APISIX-Upstream-Status")); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
