package l7test

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Message is a request or response as it was read from a socket.
type Message struct {
	// Start is the request or status line. Fields and Trailers are lines "Name: value" as sent.
	Start            string
	Fields, Trailers []string
	// Body is the decoded body, Framing one of "none", "length", "chunked" and "close".
	Body    string
	Framing string
	// Complete tells that the message ended as its framing says.
	Complete bool
	// Conn is the number of the connection that a request came on, from 1.
	Conn int
}

// Get returns the value of the field with that name in lower case, or "" when it is missing. Several fields are joined with ", ".
func (m *Message) Get(lower string) string { return get(m.Fields, lower) }

// Trailer is Get for trailer fields.
func (m *Message) Trailer(lower string) string { return get(m.Trailers, lower) }

func get(fields []string, lower string) string {
	var all []string
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		if strings.ToLower(name) == lower {
			all = append(all, strings.TrimSpace(value))
		}
	}
	return strings.Join(all, ", ")
}

// Has tells whether there is a field with that name in lower case.
func (m *Message) Has(lower string) bool {
	for _, f := range m.Fields {
		if name, _, _ := strings.Cut(f, ":"); strings.ToLower(name) == lower {
			return true
		}
	}
	return false
}

// Text is the message without framing, for searches.
func (m *Message) Text() string {
	return m.Start + "\r\n" + strings.Join(m.Fields, "\r\n") + "\r\n\r\n" + m.Body + "\r\n" + strings.Join(m.Trailers, "\r\n")
}

// Status is the status code of a response, 0 when the line is malformed.
func (m *Message) Status() int {
	p := strings.SplitN(m.Start, " ", 3)
	if len(p) < 2 || !strings.HasPrefix(p[0], "HTTP/1.") {
		return 0
	}
	n, _ := strconv.Atoi(p[1])
	return n
}

// Method and Target are those of a request line.
func (m *Message) Method() string { s, _, _ := strings.Cut(m.Start, " "); return s }

// Target is the request target.
func (m *Message) Target() string {
	p := strings.Split(m.Start, " ")
	if len(p) != 3 {
		return ""
	}
	return p[1]
}

// Close tells whether the message says that the connection ends after it.
func (m *Message) Close() bool {
	return strings.Contains(strings.ToLower(m.Get("connection")), "close") || m.Framing == "close"
}

// line reads up to CR LF and refuses any other control byte that could end a line for somebody.
func line(r *bufio.Reader) (string, error) {
	s, err := r.ReadString('\n')
	if err != nil {
		if err == io.EOF && s != "" {
			err = io.ErrUnexpectedEOF
		}
		return s, err
	}
	s, ok := strings.CutSuffix(s, "\r\n")
	if !ok || strings.ContainsAny(s, "\r\n\x00") {
		return s, fmt.Errorf("read line: %q does not end in CR LF or holds a control byte", s)
	}
	return s, nil
}

func fieldLines(r *bufio.Reader) (fields []string, err error) {
	for {
		s, err := line(r)
		if err != nil {
			return fields, noEOF(err)
		}
		if s == "" {
			return fields, nil
		}
		name, _, ok := strings.Cut(s, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return fields, fmt.Errorf("read field: malformed line %q", s)
		}
		fields = append(fields, s)
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadRequest reads one request and refuses whatever is not in plain canonical framing: a gateway has no reason to send anything else. After an error the message
// holds what was read. io.EOF means that there was none.
func ReadRequest(r *bufio.Reader) (*Message, error) {
	m, err := readHead(r)
	if err != nil {
		return m, err
	}
	p := strings.Split(m.Start, " ")
	if len(p) != 3 || p[0] == "" || p[1] == "" || p[2] != "HTTP/1.1" {
		return m, fmt.Errorf("read request: malformed line %q", m.Start)
	}
	hosts := 0
	for _, f := range m.Fields {
		if name, _, _ := strings.Cut(f, ":"); strings.ToLower(name) == "host" {
			hosts++
		}
	}
	if hosts != 1 || m.Get("host") == "" {
		return m, fmt.Errorf("read request: want one Host with a value in %q", m.Fields)
	}
	return m, m.readBody(r, "none")
}

// ReadResponse reads one response to a request with that method; a 1xx head is a response of its own. See ReadRequest.
func ReadResponse(r *bufio.Reader, method string) (*Message, error) {
	m, err := readHead(r)
	if err != nil {
		return m, err
	}
	s := m.Status()
	if s < 100 || s > 999 {
		return m, fmt.Errorf("read response: malformed line %q", m.Start)
	}
	if s < 200 || s == 204 || s == 304 || method == "HEAD" {
		m.Framing, m.Complete = "none", true
		return m, nil
	}
	return m, m.readBody(r, "close")
}

func readHead(r *bufio.Reader) (*Message, error) {
	m := &Message{}
	var err error
	if m.Start, err = line(r); err != nil {
		return m, err
	}
	m.Fields, err = fieldLines(r)
	return m, err
}

func (m *Message) readBody(r *bufio.Reader, without string) error {
	te, cl := m.Has("transfer-encoding"), m.Has("content-length")
	var b strings.Builder
	defer func() { m.Body = b.String() }()
	switch {
	case te && cl:
		return fmt.Errorf("read body: both framings in %q", m.Fields)
	case te:
		m.Framing = "chunked"
		if v := m.Get("transfer-encoding"); v != "chunked" {
			return fmt.Errorf("read body: coding %q", v)
		}
		if err := m.readChunks(r, &b); err != nil {
			return noEOF(err)
		}
	case cl:
		m.Framing = "length"
		n, err := strconv.ParseUint(m.Get("content-length"), 10, 62)
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
		if _, err := io.CopyN(&b, r, int64(n)); err != nil {
			return noEOF(err)
		}
	case without == "close":
		m.Framing = "close"
		if _, err := io.Copy(&b, r); err != nil {
			return err
		}
	default:
		m.Framing = "none"
	}
	m.Complete = true
	return nil
}

func (m *Message) readChunks(r *bufio.Reader, b *strings.Builder) (err error) {
	for {
		s, err := line(r)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(s, 16, 62)
		if err != nil {
			return fmt.Errorf("read chunk size: %w", err)
		}
		if n == 0 {
			m.Trailers, err = fieldLines(r)
			return err
		}
		if _, err := io.CopyN(b, r, int64(n)); err != nil {
			return err
		}
		if s, err := line(r); err != nil || s != "" {
			return fmt.Errorf("read chunk: %q behind its data: %w", s, noEOF(err))
		}
	}
}
