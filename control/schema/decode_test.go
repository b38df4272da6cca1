package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecode(t *testing.T) {
	tests := []struct {
		name, in string
		want     any
	}{
		{"scalars", ` [null, true,false ,"x", -1.5e+3 ] `, []any{nil, true, false, "x", json.Number("-1.5e+3")}},
		{"big integer", `123456789012345678901234567890`, json.Number("123456789012345678901234567890")},
		{"empty", "{\"a\":{},\t\"b\":[]\r\n}", map[string]any{"a": map[string]any{}, "b": []any{}}},
		{"escapes", `"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00"`, "\"\\/\b\f\n\r\tAé😀"},
		{"NUL", `"a\u0000b"`, "a\x00b"},
		// APISIX, docs/en/latest/certificate.md: a certificate is put into the document with its line breaks.
		{"line breaks in a string", "{\"cert\":\"-----BEGIN\nMII\r\n\tx\n\",\"a\nb\":\"\\\"\n\"}", map[string]any{"cert": "-----BEGIN\nMII\r\n\tx\n", "a\nb": "\"\n"}},
		{"empty key", `{"":1}`, map[string]any{"": json.Number("1")}},
		{"deepest", strings.Repeat("[", 64) + strings.Repeat("]", 64), nested(64)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode([]byte(tt.in))
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			// Not cmp, whose time doubles with every level of nested slices.
			if !reflect.DeepEqual(tt.want, got) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func nested(depth int) any {
	v := []any{}
	for range depth - 1 {
		v = []any{v}
	}
	return v
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", ``, "expected a value but found the end at character 1"},
		{"spaces", `  `, "expected a value but found the end at character 3"},
		{"text", `abc`, "expected a value but found 'a' at character 1"},
		{"unfinished object", `{"uri":"/x"`, "expected a comma or the end of the object but found the end at character 12"},
		{"a comment", "{\"a\":1, # one\n\"b\":2}", "expected an object key but found '#' (JSON has no comments) at character 9"},
		{"a comment on another line", "{\n\"a\":1 // one\n}", "expected a comma or the end of the object but found '/' (JSON has no comments) at character 9, line 2"},
		{"the end on another line", "{\n\n", "expected an object key but found the end at character 4, line 3"},
		{"no colon", `{"a" 1}`, "expected a colon but found '1' at character 6"},
		{"no key", `{1:1}`, "expected an object key but found '1' at character 2"},
		{"comma at the end", `{"a":1,}`, "expected an object key but found '}' at character 8"},
		{"comma in an array", `[1,]`, "expected a value but found ']' at character 4"},
		{"no comma", `[1 2]`, "expected a comma or the end of the array but found '2' at character 4"},
		{"duplicate key", `{"a":1,"b":2,"a":3}`, `duplicate key "a" at character 14`},
		{"duplicate key by escape", `{"a":1,"\u0061":3}`, `duplicate key "a" at character 8`},
		{"second document", `{} {}`, "expected the end but found '{' at character 4"},
		{"too deep", strings.Repeat("[", 65) + strings.Repeat("]", 65), "nested deeper than 64 levels at character 65"},
		{"too deep objects", strings.Repeat(`{"a":`, 65), "nested deeper than 64 levels at character 321"},
		{"leading zero", `01`, "expected the end but found '1' at character 2"},
		{"bare minus", `-`, "expected a digit but found the end at character 2"},
		{"plus", `+1`, "expected a value but found '+' at character 1"},
		{"no fraction", `1.`, "expected a digit but found the end at character 3"},
		{"no exponent", `1e`, "expected a digit but found the end at character 3"},
		{"hexadecimal", `0x10`, "expected the end but found 'x' at character 2"},
		{"NaN", `NaN`, "expected a value but found 'N' at character 1"},
		{"half a word", `tru`, `expected "true" but found the end at character 4`},
		{"open string", `"abc`, "expected the end of the string that starts at character 1 but found the end at character 5"},
		{"open string with escape", `"a\n`, "expected the end of the string that starts at character 1 but found the end at character 5"},
		{"NUL", "\"a\x00b\"", "found NUL in a string at character 3"},
		{"NUL after an escape", "\"\\n\x00\"", "found NUL in a string at character 4"},
		{"control character outside of a string", "{\x01}", "expected an object key but found '\\x01' at character 2"},
		{"bad escape", `"\x"`, "invalid escape in a string at character 2"},
		{"bad unicode", `"\u12g4"`, "invalid unicode escape in a string at character 2"},
		{"high half", `"\ud800"`, "half a surrogate pair in a string at character 2"},
		{"low half", `"\udc00"`, "half a surrogate pair in a string at character 2"},
		{"two high halves", `"\ud800\ud800"`, "half a surrogate pair in a string at character 2"},
		{"bad UTF-8", "\"\xff\"", "invalid UTF-8 in the string at character 1"},
		{"bad UTF-8 after an escape", "\"\\n\xff\"", "invalid UTF-8 in the string at character 1"},
		{"bad byte", "\xff", "expected a value but found the byte 0xff at character 1"},
		{"comment", `{} // x`, "expected the end but found '/' (JSON has no comments) at character 4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := Decode([]byte(tt.in))
			if err == nil {
				t.Fatalf("accepted as %v", v)
			}
			expectError(t, err, tt.want)
		})
	}
}

// escapeControls writes the control characters that stand in strings as escapes, which encoding/json demands.
func escapeControls(data []byte) []byte {
	var out []byte
	inside := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inside && c == '\\' && i+1 < len(data):
			out = append(out, c, data[i+1])
			i++
		case inside && c > 0 && c < 0x20:
			out = fmt.Appendf(out, `\u%04x`, c)
		default:
			inside = inside != (c == '"')
			out = append(out, c)
		}
	}
	return out
}

// FuzzDecode holds Decode against encoding/json: the same documents but for those that Decode refuses on purpose and control characters in strings,
// and the same values.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{tenFields, `{"a":1,"a":2}`, `[1.5e-3,"\ud83d\ude00",null]`, "\"\xff\"", `"\ud800"`, `01`, `{}x`, `-`, `"\u00`, `"a\`, "{\"a\nb\":\"\\\"\t\"}", "\"\x00\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Decode(data)
		if err != nil {
			text := err.Error()
			deliberate := strings.Contains(text, "duplicate key") || strings.Contains(text, "nested deeper") ||
				strings.Contains(text, "UTF-8") || strings.Contains(text, "surrogate")
			if !deliberate && json.Valid(data) && utf8.Valid(data) {
				t.Fatalf("refused valid JSON: %v", err)
			}
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(escapeControls(data)))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if _, err := decoder.Token(); err != io.EOF {
			t.Fatalf("accepted more than one document")
		}
		if !reflect.DeepEqual(want, got) {
			t.Errorf("Decode: %v\nencoding/json: %v", got, want)
		}
	})
}
