package echo

import (
	"testing"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func TestBody(t *testing.T) {
	for _, tc := range []struct {
		name, conf string
		chunks     []string
		want       string
	}{
		{"all three (t/plugin/echo.t TEST 4)", `{"before_body":"before the body modification ","body":"hello upstream","after_body":" after the body modification."}`,
			[]string{"up", "stream"}, "before the body modification hello upstream after the body modification."},
		{"around (TEST 7)", `{"before_body":"<","after_body":">"}`, []string{"a", "b"}, "<ab>"},
		{"empty response", `{"before_body":"<","after_body":">"}`, nil, "<>"},
		{"in its place", `{"body":"x"}`, []string{"a", "b"}, "x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inst := plugintest.New(t, name, tc.conf)
			ex := plugintest.Request("GET", "/")
			ex.Response.ContentLength = 5
			if err := inst.(plugin.HeaderFilterer).HeaderFilter(ex); err != nil {
				t.Fatal(err)
			}
			got := ""
			for i := 0; i <= len(tc.chunks); i++ {
				var in []byte
				if i < len(tc.chunks) {
					in = []byte(tc.chunks[i])
				}
				out, err := inst.(plugin.BodyFilterer).BodyFilter(ex, in, i == len(tc.chunks))
				if err != nil {
					t.Fatal(err)
				}
				got += string(out)
			}
			if got != tc.want || ex.Response.ContentLength != -1 {
				t.Errorf("got %q, length %d; want %q", got, ex.Response.ContentLength, tc.want)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	inst := plugintest.New(t, name, `{"body":"x","headers":{"Location":"https://www.iresty.com","X-N":123}}`)
	ex := plugintest.Request("GET", "/")
	if err := inst.(plugin.HeaderFilterer).HeaderFilter(ex); err != nil {
		t.Fatal(err)
	}
	if h := &ex.Response.Header; string(h.Get("Location")) != "https://www.iresty.com" || string(h.Get("X-N")) != "123" {
		t.Errorf("got %q", h.Fields())
	}
	for _, conf := range []string{`{}`, `{"headers":{"a":"b"}}`, `{"body":"x","headers":{"a":{}}}`} {
		if _, err := plugintest.Try(name, conf, nil); err == nil {
			t.Errorf("%s is accepted", conf)
		}
	}
}
