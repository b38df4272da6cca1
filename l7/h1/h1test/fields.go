package h1test

import (
	"fmt"
	"strings"
)

// fieldNameCases puts each byte that no token holds into a field name.
func fieldNameCases() []Case {
	var cases []Case
	for _, c := range []byte("\"(),/;<=>?@[\\]{}\x00\x01\x09\x0b\x0c\x1f\x20\x7f\x80\xa0\xff") {
		cases = append(cases, Case{
			Name: fmt.Sprintf("name/byte %02x inside", c),
			Raw:  get("X" + string([]byte{c}) + "Y: z"),
			Want: Refuse(400),
			Why:  "RFC 9110 5.6.2: a name is a token",
		})
	}
	for _, c := range []byte("\x00\x0b\x1f\x20\x09\x7f\xa0") {
		cases = append(cases, Case{
			Name: fmt.Sprintf("name/byte %02x before the colon of Transfer-Encoding", c),
			Raw:  post("Content-Length: 5", "Transfer-Encoding"+string([]byte{c})+": chunked") + "0\r\n\r\n",
			Want: Refuse(400),
			Why:  "RFC 9112 5.1: nothing between name and colon",
		})
	}
	return cases
}

// fieldValueCases puts each control byte into a field value.
func fieldValueCases() []Case {
	var cases []Case
	for c := 0; c < 0x80; c++ {
		if c >= 0x20 && c != 0x7f || c == '\t' {
			continue
		}
		cases = append(cases, Case{
			Name: fmt.Sprintf("value/byte %02x", c),
			Raw:  get("X: a long enough value" + string(rune(c)) + "b"),
			Want: Refuse(400),
			Why:  "RFC 9110 5.5: no controls in values; RFC 9112 2.2: bare CR and LF",
		})
	}
	return cases
}

// lines returns n distinct field lines.
func lines(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("X-%d: y", i)
	}
	return all
}

var fieldCases = []Case{
	{Name: "field/no colon", Raw: get("X"), Want: Refuse(400), Why: "RFC 9112 5"},
	{Name: "field/colon only", Raw: get(":"), Want: Refuse(400), Why: "RFC 9112 5: empty name"},
	{Name: "field/empty name", Raw: get(": x"), Want: Refuse(400), Why: "RFC 9112 5: empty name"},
	{Name: "field/pseudo-field", Raw: get(":authority: b.test"), Want: Refuse(400), Why: "RFC 9112 5: empty name"},
	{Name: "field/fold with space", Raw: get("X: a", " b"), Want: Refuse(400), Why: "RFC 9112 5.2"},
	{Name: "field/fold with tab", Raw: get("X: a", "\tb"), Want: Refuse(400), Why: "RFC 9112 5.2"},
	{Name: "field/fold hides framing", Raw: post("X: a", " Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n", Want: Refuse(400), Why: "RFC 9112 5.2"},
	{Name: "field/blank line of a space", Raw: get(" "), Want: Refuse(400), Why: "RFC 9112 5.2: a fold, or the end for some"},
	{Name: "field/all lf", Raw: "GET / HTTP/1.1\nHost: a.test\n\n", Want: Refuse(400), Why: "only CR LF ends a line"},
	{Name: "field/ends in lf", Raw: "GET / HTTP/1.1\r\nHost: a.test\n\r\n", Want: Refuse(400), Why: "only CR LF ends a line"},
	{Name: "field/empty line of lf", Raw: "GET / HTTP/1.1\r\nHost: a.test\r\n\n", Want: Refuse(400), Why: "only CR LF ends a line"},
	{Name: "field/lf lf", Raw: "GET / HTTP/1.1\r\nHost: a.test\n\n" + next, Want: Refuse(400), Why: "only CR LF ends a line"},
	{Name: "field/empty line of cr", Raw: "GET / HTTP/1.1\r\nHost: a.test\r\n\rX: y\r\n\r\n", Want: Refuse(400), Why: "RFC 9112 2.2: bare CR"},
	{Name: "field/cr cr lf", Raw: "GET / HTTP/1.1\r\nHost: a.test\r\r\n\r\n", Want: Refuse(400), Why: "RFC 9112 2.2: bare CR"},
	{Name: "field/lf hides a field", Raw: get("X: y\nTransfer-Encoding: chunked"), Want: Refuse(400), Why: "only CR LF ends a line"},
	{Name: "field/cr hides a field", Raw: get("X: y\rTransfer-Encoding: chunked"), Want: Refuse(400), Why: "RFC 9112 2.2: bare CR"},
	{Name: "field/nul cr lf", Raw: get("X: y\x00"), Want: Refuse(400), Why: "RFC 9110 5.5"},
	{Name: "field/second request line", Raw: get("GET /admin HTTP/1.1", "Host: a.test"), Want: Refuse(400), Why: "RFC 9110 5.6.2: a name is a token"},
	{Name: "field/101 fields", Raw: head(append([]string{"GET / HTTP/1.1", "Host: a.test"}, lines(100)...)...), Want: Refuse(431), Why: "RFC 6585 5: field count"},
	{Name: "field/100 fields", Raw: head(append([]string{"GET / HTTP/1.1", "Host: a.test"}, lines(99)...)...), Want: ForwardClean, Why: "at the limit"},
	{Name: "field/head too long", Raw: get("X: " + strings.Repeat("a", 32<<10)), Want: Refuse(431), Why: "RFC 6585 5: head size"},
	{Name: "field/name too long", Raw: get(strings.Repeat("a", 32<<10) + ": x"), Want: Refuse(431), Why: "RFC 6585 5: head size"},
	{Name: "field/head without end", Raw: "GET / HTTP/1.1\r\nHost: a.test\r\nX: " + strings.Repeat("a", 33<<10), Want: Refuse(431), Why: "RFC 6585 5: refused before it ends"},
	{Name: "field/whitespace without end", Raw: "GET / HTTP/1.1\r\nHost: a.test\r\nX:" + strings.Repeat(" ", 33<<10), Want: Refuse(431), Why: "RFC 6585 5: refused before it ends"},
	{Name: "field/high bytes in value", Raw: get("X: caf\xc3\xa9 \xff"), Want: ForwardClean, Why: "RFC 9110 5.5: obs-text is opaque"},
	{Name: "field/tab in value", Raw: get("X: a\tb"), Want: ForwardClean, Why: "RFC 9110 5.5"},
	{Name: "field/empty value", Raw: get("X:"), Want: ForwardClean, Why: "RFC 9110 5.5"},
	{Name: "field/no space after colon", Raw: get("X:y"), Want: ForwardClean, Why: "RFC 9112 5.1"},
	{Name: "field/colons in value", Raw: get("X: :a:b:"), Want: ForwardClean, Why: "RFC 9110 5.5"},
	{Name: "field/every token byte in name", Raw: get("!#$%&'*+-.^`|~09AZaz: y"), Want: ForwardClean, Why: "RFC 9110 5.6.2"},
	{Name: "field/underscore", Raw: get("X_Secret: y"), Want: ForwardClean, Absent: []string{"x_secret"}, Why: "CGI maps _ and - to the same name; dropped"},
	{Name: "field/underscore content-length", Raw: post("Content_Length: 44", "Content-Length: 0"), Want: ForwardClean, Absent: []string{"content_length"}, Why: "CGI maps _ and - to the same name; dropped"},
	{Name: "field/underscore transfer-encoding", Raw: post("Transfer_Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n", Want: ForwardClean, Body: "0\r\n\r\n", Absent: []string{"transfer_encoding"}, Why: "CGI maps _ and - to the same name; dropped"},
	{Name: "field/underscore forwarded", Raw: get("X_Forwarded_For: 127.0.0.1"), Want: ForwardClean, Absent: []string{"x_forwarded_for"}, Why: "CGI maps _ and - to the same name; dropped"},
	{Name: "field/underscore host only", Raw: head("GET / HTTP/1.1", "_Host: a.test"), Want: Refuse(400), Why: "RFC 9112 3.2: no Host"},
}

var connectionCases = []Case{
	{Name: "connection/names a field", Raw: get("X-Secret: y", "Connection: X-Secret"), Want: ForwardClean, Absent: []string{"x-secret"}, Why: "RFC 9110 7.6.1"},
	{Name: "connection/names a field in other case", Raw: get("Connection: close, x-SECRET", "X-Secret: y"), Want: ForwardClean, Absent: []string{"x-secret"}, Why: "RFC 9110 7.6.1"},
	{Name: "connection/names a field in the second line", Raw: get("Connection: keep-alive", "X-Secret: y", "Connection: X-Secret"), Want: ForwardClean, Absent: []string{"x-secret"}, Why: "RFC 9110 7.6.1"},
	{Name: "connection/names host", Raw: get("Connection: Host"), Want: ForwardClean, Host: "a.test", Why: "RFC 9110 7.6.1: a framing field is not taken away"},
	{Name: "connection/names content-length", Raw: post("Connection: Content-Length", "Content-Length: 5") + "hello", Want: ForwardClean, Body: "hello", Why: "RFC 9110 7.6.1: a framing field is not taken away"},
	{Name: "connection/names transfer-encoding", Raw: post("Connection: Transfer-Encoding", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", Want: ForwardClean, Body: "hello", Why: "RFC 9110 7.6.1: a framing field is not taken away"},
	{Name: "connection/empty elements", Raw: get("Connection: , keep-alive,,"), Want: ForwardClean, Why: "RFC 9110 5.6.1.2"},
	{Name: "connection/two words", Raw: get("Connection: close x"), Want: Refuse(400), Why: "RFC 9110 7.6.1: options are tokens"},
	{Name: "connection/parameter", Raw: get("Connection: close;q=1"), Want: Refuse(400), Why: "RFC 9110 7.6.1: options are tokens"},
	{Name: "connection/quoted", Raw: get("Connection: \"close\""), Want: Refuse(400), Why: "RFC 9110 7.6.1: options are tokens"},
	{Name: "connection/too many options", Raw: get("Connection: " + strings.Repeat("a,", 40) + "b"), Want: Refuse(400), Why: "bounded work"},
	{Name: "connection/keep-alive field", Raw: get("Keep-Alive: timeout=5"), Want: ForwardClean, Absent: []string{"timeout=5"}, Why: "RFC 9110 7.6.1"},
	{Name: "connection/proxy-connection", Raw: get("Proxy-Connection: keep-alive"), Want: ForwardClean, Absent: []string{"proxy-connection"}, Why: "RFC 9110 7.6.1"},
	{Name: "connection/te", Raw: get("TE: trailers, deflate", "Connection: TE"), Want: ForwardClean, Absent: []string{"deflate"}, Why: "RFC 9110 10.1.4"},
	{Name: "connection/trailer", Raw: get("Trailer: X-Checksum"), Want: ForwardClean, Absent: []string{"x-checksum"}, Why: "RFC 9110 6.6.2"},
	{Name: "connection/upgrade h2c", Raw: get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), Want: ForwardClean, Absent: []string{"h2c", "http2-settings"}, Why: "RFC 9110 7.8: ignored, a tunnel would evade every check"},
	{Name: "connection/upgrade not listed", Raw: get("Upgrade: websocket"), Want: ForwardClean, Absent: []string{"upgrade"}, Why: "RFC 9110 7.8: not meant for this hop"},
	{Name: "connection/upgrade in http 1.0", Raw: head("GET / HTTP/1.0", "Host: a.test", "Connection: upgrade", "Upgrade: websocket"), Want: ForwardClean, Absent: []string{"websocket"}, Why: "RFC 9110 7.8: ignored in HTTP/1.0"},
	{Name: "connection/unknown expectation", Raw: get("Expect: 200-ok"), Want: ForwardClean, Why: "RFC 9110 10.1.1: may be ignored"},
	{Name: "connection/expectation without body", Raw: get("Expect: 100-continue"), Want: ForwardClean, Why: "RFC 9110 10.1.1: nothing to wait for"},
}

var pipelineCases = []Case{
	{Name: "pipeline/two good", Raw: next + next, Want: ForwardClean, Before: 1, Why: "RFC 9112 9.3.2"},
	{Name: "pipeline/empty line between", Raw: next + "\r\n" + next, Want: ForwardClean, Before: 1, Why: "RFC 9112 2.2"},
	{Name: "pipeline/two empty lines between", Raw: next + "\r\n\r\n" + next, Want: Refuse(400), Before: 1, Why: "only one is tolerated"},
	{Name: "pipeline/good then bad", Raw: next + "GET / HTTP/1.1\r\n\r\n" + next, Want: Refuse(400), Before: 1, Why: "RFC 9112 3.2; nothing behind it is served"},
	{Name: "pipeline/bad then good", Raw: "GET / HTTP/1.1\r\nHost : a\r\n\r\n" + next, Want: Refuse(400), Why: "nothing behind it is served"},
	{Name: "pipeline/bad version then good", Raw: "GET / HTTP/7.0\r\nHost: a.test\r\n\r\n" + next, Want: Refuse(505), Why: "nothing behind it is served"},
	{Name: "pipeline/bad length then good", Raw: post("Content-Length: x") + next, Want: Refuse(400), Why: "nothing behind it is served"},
	{Name: "pipeline/request in length body", Raw: post(fmt.Sprintf("Content-Length: %d", len(next))) + next, Want: ForwardClean, Body: next, Why: "RFC 9112 6.3: a body, not a request"},
	{Name: "pipeline/request in get body", Raw: get(fmt.Sprintf("Content-Length: %d", len(next))) + next, Want: ForwardClean, Body: next, Why: "RFC 9112 6.3: GET may have a body (0.CL)"},
	{Name: "pipeline/request in chunk", Raw: chunked(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(next), next)), Want: ForwardClean, Body: next, Why: "RFC 9112 7.1: a body, not a request"},
	{Name: "pipeline/request in trailers", Raw: chunked("0\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n"), Want: Refuse(400), InBody: true, Why: "RFC 9112 7.1.2: a trailer is a field line"},
	{Name: "pipeline/junk after length body", Raw: post("Content-Length: 5") + "hello0\r\n\r\n", Want: Refuse(400), Before: 1, Why: "RFC 9112 3: the next request line is bad"},
	{Name: "pipeline/after chunked", Raw: chunked("5\r\nhello\r\n0\r\n\r\n") + next, Want: ForwardClean, Before: 1, Why: "RFC 9112 7.1"},
	{Name: "pipeline/bad chunk then good", Raw: chunked("x\r\n") + next, Want: Refuse(400), InBody: true, Why: "nothing behind it is served"},
	{Name: "pipeline/cl.te with hidden request", Raw: post("Content-Length: 6", "Transfer-Encoding: chunked") + "0\r\n\r\nG" + next, Want: Refuse(400), Why: "RFC 9112 6.1"},
	{Name: "pipeline/te.cl with hidden request", Raw: post("Transfer-Encoding: chunked", "Content-Length: 4") + "5c\r\n" + next + "0\r\n\r\n", Want: Refuse(400), Why: "RFC 9112 6.1"},
}
