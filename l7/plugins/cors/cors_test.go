package cors

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

// answer is the status and the fields that a case looks at; "-" is a field that is not there.
type answer struct {
	Status                                                      int
	Origin, Methods, Headers, Expose, MaxAge, Creds, Vary, Time string
}

func ask(t *testing.T, conf, metadata, method string, fields ...string) answer {
	t.Helper()
	env := plugintest.Env()
	if metadata != "" {
		env.Metadata = []byte(metadata)
	}
	r := plugintest.Run(plugintest.Request(method, "/hello", fields...), plugintest.Upstream{}, plugintest.NewEnv(t, name, conf, env))
	return answer{r.Status, r.Header("Access-Control-Allow-Origin"), r.Header("Access-Control-Allow-Methods"), r.Header("Access-Control-Allow-Headers"),
		r.Header("Access-Control-Expose-Headers"), r.Header("Access-Control-Max-Age"), r.Header("Access-Control-Allow-Credentials"), r.Header("Vary"), r.Header("Timing-Allow-Origin")}
}

func TestAnswers(t *testing.T) {
	none := answer{200, "-", "-", "-", "-", "-", "-", "Origin", "-"}
	for _, tc := range []struct {
		name, conf, metadata, method string
		fields                       []string
		want                         answer
	}{
		{"defaults (t/plugin/cors.t TEST 4)", `{}`, "", "GET", []string{"Origin: https://sub.domain.com"}, answer{200, "*", "*", "*", "-", "5", "-", "-", "-"}},
		{"preflight", `{}`, "", "OPTIONS", []string{"Origin: https://a.com"}, answer{200, "*", "*", "*", "-", "5", "-", "-", "-"}},
		{"one of a list (TEST 8)", `{"allow_origins":"http://sub.domain.com,http://sub2.domain.com","allow_methods":"GET,POST","allow_headers":"headr1,headr2","expose_headers":"ex-headr1,ex-headr2","max_age":50,"allow_credential":true}`, "", "GET",
			[]string{"Origin: http://sub2.domain.com"}, answer{200, "http://sub2.domain.com", "GET,POST", "headr1,headr2", "ex-headr1,ex-headr2", "50", "true", "Origin", "-"}},
		{"not in the list (TEST 10)", `{"allow_origins":"http://sub.domain.com,http://sub2.domain.com"}`, "", "GET", []string{"Origin: http://other.com"}, none},
		{"** (TEST 12)", `{"allow_origins":"**","allow_methods":"**","allow_headers":"**","allow_credential":true}`, "", "GET",
			[]string{"Origin: http://a.com", "Access-Control-Request-Headers: req-header1,req-header2"},
			answer{200, "http://a.com", "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE", "req-header1,req-header2", "-", "5", "true", "Origin", "-"}},
		{"** without an origin", `{"allow_origins":"**"}`, "", "GET", nil, answer{200, "*", "*", "*", "-", "5", "-", "Origin", "-"}},
		{"by regex (cors2.t)", `{"allow_origins":"http://x.com","allow_origins_by_regex":[".*\\.test.com$"]}`, "", "GET", []string{"Origin: http://a.test.com"},
			answer{200, "http://a.test.com", "*", "*", "-", "5", "-", "Origin", "-"}},
		{"by regex, no match", `{"allow_origins":"http://x.com","allow_origins_by_regex":[".*\\.test.com$"]}`, "", "GET", []string{"Origin: http://a.test.com.evil"}, none},
		{"by metadata (cors3.t)", `{"allow_origins_by_metadata":["k1"],"allow_origins":"http://x.com"}`, `{"allow_origins":{"k1":"https://domain.com,https://sub.domain.com"}}`, "GET",
			[]string{"Origin: https://sub.domain.com"}, answer{200, "https://sub.domain.com", "*", "*", "-", "5", "-", "Origin", "-"}},
		{"by metadata, no match and default origins", `{"allow_origins_by_metadata":["k1"]}`, `{"allow_origins":{"k1":"https://domain.com"}}`, "GET",
			[]string{"Origin: https://other.com"}, answer{200, "-", "-", "-", "-", "-", "-", "-", "-"}},
		{"timing (cors4.t)", `{"timing_allow_origins":"http://a.com,http://b.com"}`, "", "GET", []string{"Origin: http://b.com"},
			answer{200, "*", "*", "*", "-", "5", "-", "-", "http://b.com"}},
		{"timing by regex, no match", `{"timing_allow_origins_by_regex":["http://a.*"]}`, "", "GET", []string{"Origin: http://b.com"}, answer{200, "*", "*", "*", "-", "5", "-", "-", "-"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, ask(t, tc.conf, tc.metadata, tc.method, tc.fields...)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for _, conf := range []string{`{"allow_credential":true}`, `{"allow_origins":"domain.com"}`, `{"allow_origins_by_regex":["("]}`, `{"allow_origins_by_regex":[]}`,
		`{"allow_origins":"http://a.com","allow_methods":"GET","allow_headers":"*","allow_credential":true}`} {
		if _, err := plugintest.Try(name, conf, nil); err == nil {
			t.Errorf("%s is accepted", conf)
		}
	}
}
