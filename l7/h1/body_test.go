package h1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// decode runs b over in, step bytes at a time, and returns the body and the
// number of bytes consumed.
func decode(b *Body, in []byte, step int) (body []byte, n int, err error) {
	for have := 0; !b.Done() && have < len(in); {
		have = min(have+step, len(in))
		for n < have && !b.Done() {
			data, m, err := b.Next(in[n:have])
			if err != nil {
				return body, n, err
			}
			body = append(body, data...)
			n += m
		}
	}
	return body, n, nil
}

func TestBody(t *testing.T) {
	tests := []struct {
		name     string
		framing  Framing
		length   int64
		in       string
		body     string
		n        int
		done     bool
		trailers []string
	}{
		{name: "none", framing: BodyNone, in: "x", done: true},
		{name: "length", framing: BodyLength, length: 5, in: "hello world", body: "hello", n: 5, done: true},
		{name: "length zero", framing: BodyLength, in: "x", done: true},
		{name: "length cut", framing: BodyLength, length: 5, in: "hel", body: "hel", n: 3},
		{name: "until close", framing: BodyUntilClose, in: "hello", body: "hello", n: 5},
		{name: "chunked empty", framing: BodyChunked, in: "0\r\n\r\nGET", n: 5, done: true},
		{name: "chunked", framing: BodyChunked, in: "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\nGET", body: "hello world", n: 30, done: true},
		{name: "chunked cut in data", framing: BodyChunked, in: "5\r\nhel", body: "hel", n: 6},
		{name: "chunked cut in end", framing: BodyChunked, in: "5\r\nhello\r\n0\r\n", body: "hello", n: 13},
		{
			name: "chunked trailers", framing: BodyChunked, in: "1\r\nx\r\n0\r\nA: b\r\nGrpc-Status:0\r\n\r\nGET",
			body: "x", n: 32, done: true, trailers: []string{"A=b", "Grpc-Status=0"},
		},
	}
	var b Body // reused
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for step := 1; step <= len(tt.in); step++ {
				b.Reset(tt.framing, tt.length, nil)
				if b.Framing() != tt.framing {
					t.Fatalf("Framing() = %v", b.Framing())
				}
				body, n, err := decode(&b, []byte(tt.in), step)
				if err != nil {
					t.Fatal(err)
				}
				if string(body) != tt.body || n != tt.n || b.Done() != tt.done {
					t.Errorf("%d bytes at a time: body %q, n %d, done %v", step, body, n, b.Done())
				}
				var trailers []string
				for _, f := range b.Trailers() {
					trailers = append(trailers, string(f.Name)+"="+string(f.Value))
				}
				if diff := cmp.Diff(tt.trailers, trailers); diff != "" {
					t.Errorf("trailers (-want +got):\n%s", diff)
				}
				want := int64(-1)
				if tt.framing == BodyLength {
					want = tt.length - int64(len(tt.body))
				}
				if got := b.Remaining(); got != want {
					t.Errorf("Remaining() = %d, want %d", got, want)
				}
				if err := b.EOF(); (err == nil) != (tt.done || tt.framing == BodyUntilClose) {
					t.Errorf("EOF() = %v", err)
				}
			}
		})
	}
}

func TestBodyErrorRepeats(t *testing.T) {
	var b Body
	b.Reset(BodyChunked, 0, nil)
	in := []byte("5\r\nhelloX\r\n")
	data, n, err := b.Next(in)
	if string(data) != "hello" || n != 8 || err != nil {
		t.Fatalf("Next = %q, %d, %v; want the data before the fault", data, n, err)
	}
	for range 2 {
		if data, n, err = b.Next(in[8:]); len(data) != 0 || n != 0 || err != error(errChunkEnd) {
			t.Fatalf("Next = %q, %d, %v; want the fault", data, n, err)
		}
	}
	if b.Done() || b.Trailers() != nil || b.EOF() == nil {
		t.Error("a broken body counts as complete")
	}
}

func TestBodyLimits(t *testing.T) {
	tests := []struct {
		name, in string
		lim      Limits
		want     error
	}{
		{"extensions at the limit", "1;ab\r\nx\r\n0;c\r\n\r\n", Limits{ChunkExtBytes: 5}, nil},
		{"extensions over the limit", "1;ab\r\nx\r\n0;c\r\n\r\n", Limits{ChunkExtBytes: 4}, errChunkExtLong},
		{"trailers at the limit", "0\r\nA: b\r\n\r\n", Limits{TrailerBytes: 8}, nil},
		{"trailers over the limit", "0\r\nA: b\r\n\r\n", Limits{TrailerBytes: 7}, errTrailerLong},
		{"trailer fields over the limit", "0\r\nA: b\r\nC: d\r\n\r\n", Limits{Fields: 1}, errFieldCount},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for step := 1; step <= len(tt.in); step++ {
				var b Body
				b.Reset(BodyChunked, 0, &tt.lim)
				if _, _, err := decode(&b, []byte(tt.in), step); err != tt.want {
					t.Errorf("%d bytes at a time: %v, want %v", step, err, tt.want)
				}
			}
		})
	}
}

func TestTrailersAreOwned(t *testing.T) {
	var b Body
	b.Reset(BodyChunked, 0, nil)
	in := []byte("0\r\nA: " + strings.Repeat("b", 10) + "\r\n\r\n")
	if _, _, err := decode(&b, in, len(in)); err != nil {
		t.Fatal(err)
	}
	clear(in)
	if got := string(b.Trailers()[0].Value); got != "bbbbbbbbbb" {
		t.Errorf("trailer value is %q after the input was overwritten", got)
	}
}

func TestZeroBodyIsEmpty(t *testing.T) {
	var b Body
	data, n, err := b.Next([]byte("GET / HTTP/1.1"))
	if len(data) != 0 || n != 0 || err != nil || !b.Done() || b.EOF() != nil {
		t.Errorf("Next = %q, %d, %v, done %v", data, n, err, b.Done())
	}
}
