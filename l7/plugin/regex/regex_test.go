package regex

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name, pattern, opts, in string
		want                    bool
	}{
		{"plain", "[Dd]ev", "jo", "my Dev box", true},
		{"plain miss", "[Dd]ev", "jo", "prod", false},
		{"ignore case", "^chrome", "joi", "CHROME/1", true},
		{"case counts", "^chrome", "jo", "CHROME/1", false},
		{"look-ahead", "^(?!admin).*$", "jo", "user", true},
		{"look-ahead miss", "^(?!admin).*$", "jo", "administrator", false},
		{"look-ahead ignoring case", "^(?!admin)", "i", "ADMIN", false},
		{"look-behind", "(?<=v)2$", "", "v2", true},
		{"back reference", `(\w)\1`, "", "aa", true},
		{"back reference miss", `(\w)\1`, "", "ab", false},
		{"atomic group", "(?>a+)b", "", "aab", true},
		{"named group", "(?<id>[0-9]+)", "", "42", true},
		{"anchored", "b", "a", "ab", false},
		{"anchored hit", "a", "a", "ab", true},
		{"anchored slow", "b(?=c)", "a", "abc", false},
		{"extended", "a b # comment", "x", "ab", true},
		{"extended anchored", "a b # comment", "ax", "xab", false},
		{"dot all", "a.b", "s", "a\nb", true},
		{"multi-line", "^b$", "m", "a\nb", true},
		{"bytes", `^.{2}(?=x)`, "", "\xc3\xa9x", true},
		{"code points", `^.{1}(?=x)`, "u", "éx", true},
		{"code points of broken bytes", `^.{1}(?=x)`, "u", "\xffx", false},
		{"word characters are ASCII", `^\w(?=x)`, "", "\xe9x", false},
		{"byte pattern", "é(?!z)", "", "caféx", true},
		{"before a last line break", `d$`, "jo", "hello world\n", true},
		{"before a last line break, slow", `(?=d)d$`, "", "hello world\n", true},
		{"not before two", `d$`, "", "world\n\n", false},
		{"not before one in the middle", `d$`, "", "world\nx", false},
		{"option D", `d$`, "D", "world\n", false},
		{"a dollar sign", `d\$`, "", "world\n", false},
		{"a dollar sign in a class", `d[$]`, "", "world\n", false},
		{"the very end", `d\z|x$`, "", "world\n", false},
		{"escaped slash", `^\/a\/`, "jo", "/a/", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			re, err := Compile(c.pattern, c.opts)
			if err != nil {
				t.Fatal(err)
			}
			if got := re.Match([]byte(c.in)); got != c.want {
				t.Fatalf("Match: got %v, want %v", got, c.want)
			}
			if got, err := re.TryMatch([]byte(c.in)); got != c.want || err != nil {
				t.Fatalf("TryMatch: got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct{ name, pattern, opts, want string }{
		{"open group", "(a", "", `"(a"`},
		{"open class", "[a", "i", `"[a"`},
		{"unknown option", "a", "iq", `unknown flag "q" (flags "iq")`},
		{"too long", strings.Repeat("a", MaxPattern+1), "", "at most 16384"},
		{"long ones are cut", strings.Repeat("(", 500), "", "..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile(c.pattern, c.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestReplace(t *testing.T) {
	for _, c := range []struct {
		name, pattern, opts, in, template string
		once, all                         string
		n                                 int
	}{
		{"proxy-rewrite regex_uri", "^/iresty/(.*)/(.*)/(.*)", "jo", "/iresty/a/b/c", "/$1-$2-$3", "/a-b-c", "/a-b-c", 1},
		{"braces", "(a)(b)?", "", "a-ab", "<${1}1${2}>", "<a1>-ab", "<a1>-<a1b>", 2},
		{"dollars", "a", "", "aa", "$$1$", "$1$a", "$1$$1$", 2},
		{"whole match", "[0-9]", "", "a1b2", "[$0]", "a[1]b2", "a[1]b[2]", 2},
		{"missing group", "a", "", "a", "x$7y", "xy", "xy", 1},
		{"no match", "z", "", "abc", "y", "abc", "abc", 0},
		{"empty matches", "x*", "", "ab", "-", "-ab", "-a-b-", 3},
		{"not a group", "a", "", "a", "${x}$y", "${x}$y", "${x}$y", 1},
		{"look-ahead", "a(?=b)", "", "abac ab", "X", "Xbac ab", "Xbac Xb", 2},
		{"bytes survive", "a(?=b)", "", "\xffab\xfe", "X", "\xffXb\xfe", "\xffXb\xfe", 1},
		{"a word before a last line break", `\w\S+$`, "", "hello world\n", "*", "hello *\n", "hello *\n", 1},
		{"what reaches the very end", `\s*$`, "", "a \n", "*", "a*", "a*", 1},
		{"one before it and one at it", `b$|\n`, "", "ab\n", "*", "a*\n", "a**", 2},
		{"code points", "(.)(?=x)", "u", "éüx", "<$1>", "é<ü>x", "é<ü>x", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			re, err := Compile(c.pattern, c.opts)
			if err != nil {
				t.Fatal(err)
			}
			once, replaced, err := re.Sub([]byte(c.in), c.template)
			if err != nil || string(once) != c.once || replaced != (c.n > 0) {
				t.Fatalf("Sub: got %q, %v, %v, want %q", once, replaced, err, c.once)
			}
			all, n, err := re.Gsub([]byte(c.in), c.template)
			if err != nil || string(all) != c.all || n != c.n {
				t.Fatalf("Gsub: got %q, %d, %v, want %q, %d", all, n, err, c.all, c.n)
			}
		})
	}
}

func TestFindSubmatch(t *testing.T) {
	for _, pattern := range []string{"(a)(x)?(b)", "(a)(x)?(b)(?!c)"} {
		t.Run(pattern, func(t *testing.T) {
			re, err := Compile(pattern)
			if err != nil {
				t.Fatal(err)
			}
			if re.NumGroups() != 3 {
				t.Fatalf("got %d groups", re.NumGroups())
			}
			got, err := re.FindSubmatch([]byte("-ab-"))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([][]byte{[]byte("ab"), []byte("a"), nil, []byte("b")}, got); d != "" {
				t.Fatal(d)
			}
			if got, err = re.FindSubmatch([]byte("ax")); got != nil || err != nil {
				t.Fatalf("got %q, %v for no match", got, err)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	re, err := Compile(`^(a+)+(?=b)c$`)
	if err != nil {
		t.Fatal(err)
	}
	in := []byte(strings.Repeat("a", 64) + "bd")
	if ok, err := re.TryMatch(in); ok || !errors.Is(err, ErrTimeout) {
		t.Fatalf("TryMatch: got %v, %v", ok, err)
	}
	if re.Match(in) {
		t.Fatal("a timeout counted as a match")
	}
	if out, n, err := re.Gsub(in, "x"); n != 0 || !errors.Is(err, ErrTimeout) || string(out) != string(in) {
		t.Fatalf("Gsub: got %q, %d, %v", out, n, err)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	re, err := Compile("^/api/v[0-9]+/", "i")
	if err != nil {
		t.Fatal(err)
	}
	in := []byte("/API/v12/users")
	if n := testing.AllocsPerRun(100, func() { re.Match(in) }); n != 0 {
		t.Fatalf("%v allocations per match", n)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"^/a/(.*)", "(?!x)a", `(\w)\1`, "[[:alpha:]]+", "(?>a|b)c", "a{2,5}?", "é+(?=x)", `\p{L}(?<=a)`, "(?#c)a", "(?<n>a)\\k<n>"} {
		f.Add(s, "jo", "/a/b", "$1-${0}")
	}
	f.Fuzz(func(t *testing.T, pattern, opts, in, template string) {
		if len(pattern) > 64 || len(in) > 64 || len(template) > 64 {
			return
		}
		re, err := Compile(pattern, opts)
		if err != nil {
			return
		}
		ok, err := re.TryMatch([]byte(in))
		if err != nil {
			return
		}
		if _, replaced, err := re.Sub([]byte(in), template); err == nil && replaced != ok {
			t.Fatalf("Sub replaced: %v, match: %v", replaced, ok)
		}
		if _, _, err := re.Gsub([]byte(in), template); err != nil && !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
	})
}

func TestCheckTemplate(t *testing.T) {
	for template, ok := range map[string]bool{"": true, "/a": true, "/$1": true, "/${1}x": true, "$$": true, "/$0-$12": true,
		"/a$": false, "/$x": false, "/${x}": false, "/${1": false, "/$1$": false, "$$$": false} {
		if err := CheckTemplate(template); (err == nil) != ok {
			t.Errorf("%q: %v", template, err)
		}
	}
}
