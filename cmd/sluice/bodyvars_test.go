package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBodyVariables tests that plugins see the request body behind the variables that their configuration names, and that the body still reaches the upstream.
func TestBodyVariables(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s x=%s body=%s", r.URL, r.Header.Get("X-User"), b)
	}))
	defer up.Close()
	p := startProcess(t, t.TempDir(), "")
	node := strings.TrimPrefix(up.URL, "http://")
	post := func(path, form string) (int, string, http.Header) {
		t.Helper()
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.Post("http://"+p.addrs["http"]+path, "application/x-www-form-urlencoded", strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b), resp.Header
	}
	for name, plugins := range map[string]string{
		"count":    `"limit-count":{"count":1,"time_window":600,"rejected_code":429,"key":"post_arg_user"}`,
		"rules":    `"limit-count":{"rejected_code":429,"rules":[{"count":1,"time_window":600,"key":"${post_arg_user}"}]}`,
		"req":      `"limit-req":{"rate":0.001,"burst":0,"rejected_code":429,"key":"post_arg_user"}`,
		"rewrite":  `"proxy-rewrite":{"uri":"/of/$post_arg_user","headers":{"set":{"X-User":"$post_arg_user"}}}`,
		"redirect": `"redirect":{"uri":"/to/$post_arg_user","ret_code":303}`,
		"response": `"response-rewrite":{"headers":{"set":{"X-User":"$post_arg_user"}},"vars":[["post_arg_user","==","jack"]]}`,
	} {
		p.put("/routes/"+name, fmt.Sprintf(`{"uri":"/%s","plugins":{%s},"upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, name, plugins, node))
	}
	for _, path := range []string{"/count", "/rules", "/req"} {
		for _, step := range []struct {
			form string
			want int
		}{{"user=jack", 200}, {"user=jack", 429}, {"user=jill", 200}, {"user=jill&a=b", 429}} {
			if status, body, _ := post(path, step.form); status != step.want || status == 200 && !strings.HasSuffix(body, "body="+step.form) {
				t.Errorf("%s %s: %d %s, want %d", path, step.form, status, body, step.want)
			}
		}
	}
	if _, body, _ := post("/rewrite", "user=jack"); body != "/of/jack x=jack body=user=jack" {
		t.Errorf("proxy-rewrite: %s", body)
	}
	if status, _, h := post("/redirect", "user=jack"); status != 303 || h.Get("Location") != "/to/jack" {
		t.Errorf("redirect: %d %v", status, h)
	}
	for form, want := range map[string]string{"user=jack": "jack", "user=jill": ""} {
		if _, _, h := post("/response", form); h.Get("X-User") != want {
			t.Errorf("response-rewrite %s: X-User %q, want %q", form, h.Get("X-User"), want)
		}
	}
}
