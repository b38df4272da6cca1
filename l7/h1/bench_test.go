package h1

import (
	"strings"
	"testing"
)

const curlHead = "GET /get?a=1 HTTP/1.1\r\n" +
	"Host: 127.0.0.1:9080\r\n" +
	"User-Agent: curl/7.88.1\r\n" +
	"Accept: */*\r\n" +
	"X-Api-Key: auth-one\r\n" +
	"X-Request-Id: 7d3f0b9a\r\n" +
	"Connection: keep-alive\r\n\r\n"

const browserHead = "GET /assets/app/main.4f2c1d.js?v=20260611 HTTP/1.1\r\n" +
	"Host: www.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Referer: https://www.example.com/products/list?page=3\r\n" +
	"Connection: keep-alive\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"Sec-Fetch-Dest: document\r\n" +
	"Sec-Fetch-Mode: navigate\r\n" +
	"Sec-Fetch-Site: same-origin\r\n\r\n"

const responseHead = "HTTP/1.1 200 OK\r\n" +
	"Date: Thu, 11 Jun 2026 10:00:00 GMT\r\n" +
	"Content-Type: application/json\r\n" +
	"Content-Length: 1024\r\n" +
	"Server: upstream/1.0\r\n" +
	"Connection: keep-alive\r\n\r\n"

var requestHeads = []struct{ name, head string }{
	{"curl", curlHead},
	{"browser", browserHead},
}

func BenchmarkParseRequest(b *testing.B) {
	for _, h := range requestHeads {
		b.Run(h.name, func(b *testing.B) {
			buf := []byte(h.head)
			lim := DefaultLimits()
			var r Request
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Parse(buf, &lim); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	buf, method := []byte(responseHead), []byte("GET")
	lim := DefaultLimits()
	var r Response
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Parse(buf, method, &lim); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBodyChunked(b *testing.B) {
	var wire []byte
	data := []byte(strings.Repeat("x", 512))
	for range 16 {
		wire = AppendChunk(wire, data)
	}
	wire = AppendLastChunk(wire, nil)
	var body Body
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(BodyChunked, 0, nil)
		for in := wire; !body.Done(); {
			_, n, err := body.Next(in)
			if err != nil {
				b.Fatal(err)
			}
			in = in[n:]
		}
	}
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, p := range []struct{ name, raw string }{
		{"unchanged", "/api/v1/users/12345/orders"},
		{"encoded", "/api/v1/../v2/%7Euser//caf%C3%A9"},
	} {
		b.Run(p.name, func(b *testing.B) {
			raw, dst := []byte(p.raw), make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := NormalizePath(dst, raw, PathOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
