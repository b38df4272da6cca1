// Package h1test is a table of malformed, ambiguous and borderline HTTP/1.1
// messages with what a strict gateway does to each. The tests of the codec run
// it, and so can a test that talks to a whole gateway over a socket.
package h1test

import (
	"slices"
	"strings"
)

// Want is the expected outcome of a Case.
type Want struct {
	// Status is the status of the refusal, after which the connection is
	// closed; 0 means that the message is forwarded, re-serialised.
	Status int
}

// ForwardClean is the outcome of a message that is forwarded, with nothing in
// it that another parser could read differently.
var ForwardClean = Want{}

// Refuse is the outcome of a message that is answered with status, after which
// the connection is closed.
func Refuse(status int) Want { return Want{Status: status} }

// Refused reports whether the message is refused.
func (w Want) Refused() bool { return w.Status != 0 }

// Case is one exchange: Raw is all that the peer sends.
type Case struct {
	// Name is unique within its table.
	Name string
	Raw  string
	Want Want
	// Why says what is at stake and gives the rule's source.
	Why string

	// Before is the number of complete messages in Raw that are served before
	// the one Want is about. Nothing behind a refused message is served.
	Before int
	// InBody marks a fault behind the head: a gateway that streams may have
	// begun to forward, and then cuts the upstream request short.
	InBody bool
	// ByCaller marks a message that the codec parses and that the gateway
	// refuses by policy.
	ByCaller bool
	// Path is the normalised path that a forwarded request must have, if set.
	Path string
	// Host is the effective host that a forwarded request must have, if set.
	Host string
	// Body is the decoded body that a forwarded request must have, if set.
	Body string
	// Absent lists text, in lower case, that the forwarded message must not
	// contain in any case.
	Absent []string
}

// BadRequests holds requests as a client sends them.
var BadRequests = slices.Concat(
	requestLineCases,
	targetCases,
	pathCases,
	hostCases,
	fieldNameCases(),
	fieldValueCases(),
	fieldCases,
	lengthCases,
	codingCases,
	chunkCases,
	connectionCases,
	pipelineCases,
)

// head joins lines with CR LF and ends them with an empty line.
func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// get is a GET of / from host a.test with more field lines.
func get(lines ...string) string {
	return head(append([]string{"GET / HTTP/1.1", "Host: a.test"}, lines...)...)
}

// post is the head of a POST to / on host a.test with more field lines.
func post(lines ...string) string {
	return head(append([]string{"POST / HTTP/1.1", "Host: a.test"}, lines...)...)
}

// chunked is a POST with this chunked body.
func chunked(body string) string { return post("Transfer-Encoding: chunked") + body }

// target is a GET of a target with host a.test.
func target(t string) string { return head("GET "+t+" HTTP/1.1", "Host: a.test") }

// host is a GET of / with this Host field.
func host(h string) string { return head("GET / HTTP/1.1", "Host: "+h) }

// next is a request that must be served alone or not at all.
const next = "GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n"
