package h1

import (
	"testing"
)

func TestNormalizePath(t *testing.T) {
	slash, servlet := PathOptions{EncodedSlash: true}, PathOptions{Servlet: true}
	both := PathOptions{EncodedSlash: true, Servlet: true}
	tests := []struct {
		name, raw string
		opt       PathOptions
		norm      string // "" with err
		err       error
		escaped   string // of norm, if not raw
	}{
		{name: "root", raw: "/", norm: "/"},
		{name: "plain", raw: "/a/b-c_d~e/", norm: "/a/b-c_d~e/"},
		{name: "sub-delims", raw: "/a!$&'()*+,;=:@b", norm: "/a!$&'()*+,;=:@b"},
		{name: "dot file", raw: "/.well-known/a", norm: "/.well-known/a"},
		{name: "three dots", raw: "/.../a", norm: "/.../a"},
		{name: "parameters", raw: "/a;b=c/d", norm: "/a;b=c/d"},
		{name: "decode", raw: "/%61%7e%2D", norm: "/a~-", escaped: "/a~-"},
		{name: "decode utf-8", raw: "/caf%C3%a9", norm: "/caf\xc3\xa9", escaped: "/caf%C3%A9"},
		{name: "decode space", raw: "/a%20b", norm: "/a b"},
		{name: "decode reserved", raw: "/a%3Fb%23c%5B", norm: "/a?b#c["},
		{name: "decode once", raw: "/%252e%252E", norm: "/%2e%2E"},
		{name: "percent", raw: "/100%25", norm: "/100%"},
		{name: "raw bytes outside pchar", raw: "/a|b\"", norm: "/a|b\"", escaped: "/a%7Cb%22"},
		{name: "merge slashes", raw: "//a///b//", norm: "/a/b/", escaped: "/a/b/"},
		{name: "dot", raw: "/a/./b/.", norm: "/a/b/", escaped: "/a/b/"},
		{name: "dot only", raw: "/.", norm: "/", escaped: "/"},
		{name: "dot dot", raw: "/a/b/../c", norm: "/a/c", escaped: "/a/c"},
		{name: "dot dot at end", raw: "/a/b/..", norm: "/a/", escaped: "/a/"},
		{name: "dot dot to root", raw: "/a/..", norm: "/", escaped: "/"},
		{name: "dot dot through slashes", raw: "/a//../b", norm: "/b", escaped: "/b"},
		{name: "encoded dots", raw: "/a/%2e%2E/b/.%2e/c", norm: "/c", escaped: "/c"},

		{name: "empty", raw: "", err: errPathStart},
		{name: "relative", raw: "a", err: errPathStart},
		{name: "above root", raw: "/..", err: errPathAbove},
		{name: "above root later", raw: "/a/../../b", err: errPathAbove},
		{name: "bad escape", raw: "/%g0", err: errPathEscape},
		{name: "short escape", raw: "/%2", err: errPathEscape},
		{name: "nul", raw: "/%00", err: errPathControl},
		{name: "control", raw: "/%1f", err: errPathControl},
		{name: "delete", raw: "/%7F", err: errPathControl},
		{name: "raw control", raw: "/\x01", err: errPathControl},
		{name: "encoded slash", raw: "/a%2Fb", err: errPathSlash},
		{name: "encoded backslash", raw: "/a%5cb", err: errPathBackslash},
		{name: "backslash", raw: "/a\\b", err: errPathBackslash},
		{name: "dots with parameter", raw: "/a/..;/b", err: errPathParam},
		{name: "dot with parameter", raw: "/a/.;x", err: errPathParam},
		{name: "dots with encoded semicolon", raw: "/a/%2e.%3bx/b", err: errPathParam},

		{name: "slash: kept", raw: "/a%2fb%2Fc", opt: slash, norm: "/a%2Fb%2Fc", escaped: "/a%2Fb%2Fc"},
		{name: "slash: percent kept", raw: "/100%25", opt: slash, norm: "/100%25"},
		{name: "slash: double encoded", raw: "/a%252Fb", opt: slash, norm: "/a%252Fb"},
		{name: "slash: others decoded", raw: "/%61%2f%20", opt: slash, norm: "/a%2F ", escaped: "/a%2F%20"},
		{name: "slash: dots before", raw: "/a/..%2fb", opt: slash, err: errPathSlash},
		{name: "slash: dots behind", raw: "/a%2f..", opt: slash, err: errPathSlash},
		{name: "slash: dots between", raw: "/a%2f%2e%2e%2fb", opt: slash, err: errPathSlash},
		{name: "slash: dot alone", raw: "/a%2f./b", opt: slash, err: errPathSlash},
		{name: "slash: dots with parameter", raw: "/a%2f..;/b", opt: slash, err: errPathParam},
		{name: "slash: dots behind a parameter", raw: "/a;%2f..%2fb", opt: slash, err: errPathSlash},
		{name: "slash: backslash still refused", raw: "/a%5c", opt: slash, err: errPathBackslash},

		{name: "servlet: parameters", raw: "/a;b=c/d;e", opt: servlet, norm: "/a/d", escaped: "/a/d"},
		{name: "servlet: last empty", raw: "/a/;b", opt: servlet, norm: "/a/", escaped: "/a/"},
		{name: "servlet: empty before last", raw: "/;a/admin", opt: servlet, err: errPathParam},
		{name: "servlet: dots", raw: "/a/..;/b", opt: servlet, err: errPathParam},
		{name: "servlet: encoded semicolon", raw: "/a%3bb/c", opt: servlet, norm: "/a/c", escaped: "/a/c"},
		{name: "servlet: bad escape in parameter", raw: "/a;%zz", opt: servlet, err: errPathEscape},
		{name: "servlet and slash", raw: "/a%2fb;c%2fd/e", opt: both, norm: "/a%2Fb/e", escaped: "/a%2Fb/e"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := []byte(tt.raw)
			norm, err := NormalizePath(make([]byte, 0, 8), raw, tt.opt)
			if err != tt.err || string(norm) != tt.norm {
				t.Fatalf("NormalizePath(%q) = %q, %v; want %q, %v", tt.raw, norm, err, tt.norm, tt.err)
			}
			if err != nil {
				return
			}
			if tt.norm == tt.raw && &norm[0] != &raw[0] {
				t.Error("an unchanged path was copied")
			}
			escape := AppendEscapedPath
			if tt.opt.EncodedSlash {
				escape = AppendEscapedSlashPath
			}
			want := tt.escaped
			if want == "" {
				want = tt.raw
			}
			if got := string(escape([]byte("GET "), norm)); got != "GET "+want {
				t.Errorf("escaped is %q, want %q", got, want)
			}
		})
	}
}
