package plugin

import "testing"

// The cases up to the blank line and their results are those of t/core/utils.t TEST 6.
func TestTemplate(t *testing.T) {
	for _, c := range []struct {
		in, want string
		resolved int
	}{
		{"", "", 0},
		{"xx", "xx", 0},
		{"$me", "David", 1},
		{"$me run", "David run", 1},
		{"talk with $me", "talk with David", 1},
		{"tell $me to", "tell David to", 1},
		{"$you and $me", "John and David", 2},
		{"$eva and $me", " and David", 1},
		{`$you and \$me`, `John and \$me`, 1},
		{"${you}_${me}", "John_David", 2},
		{"${you}${me}", "JohnDavid", 2},
		{"${you}$me", "JohnDavid", 2},
		{"${you??}$me", "JohnDavid", 2},
		{"${you??Rose}$me", "JohnDavid", 2},
		{"${she??Rose}$me", "RoseDavid", 2},
		{"${she ??Rose}$me", "RoseDavid", 2},
		{"${she?? Rose}$me", "RoseDavid", 2},
		{"${she ?? Rose}$me", "RoseDavid", 2},
		{"${she   ??     Rose}$me", "RoseDavid", 2},
		{"${ she ?? Rose }$me", "RoseDavid", 2},
		{"${you ?? Rose}$he??", "John??", 1},
		{"${you ?? Rose}$he??Jack", "John??Jack", 1},

		{"${she??}", "", 1},
		{"${she}", "", 0},
		{"${she??a??b}", "a", 1},
		{"$", "$", 0},
		{"5$ and ${", "5$ and ${", 0},
		{"${}${ }", "${}${ }", 0},
		{"$-x", "$-x", 0},
		{"$me.x", "", 0},
		{`\\$me`, `\\$me`, 0},
		{`{"a": $me}`, `{"a": David}`, 1},
	} {
		t.Run(c.in, func(t *testing.T) {
			ex := &Exchange{}
			ex.SetVar("you", []byte("John"))
			ex.SetVar("me", []byte("David"))
			got, resolved := CompileTemplate(c.in).Eval(ex)
			if string(got) != c.want || resolved != c.resolved {
				t.Fatalf("got %q, %d, want %q, %d", got, resolved, c.want, c.resolved)
			}
		})
	}
}

func TestTemplateNeedsBody(t *testing.T) {
	for in, want := range map[string]bool{"": false, "$uri": false, "a $post_arg_x": true, "${ post_arg.a.b ?? c }": true, "${arg_a??post_arg_b}": false, "$request_body": true} {
		if got := CompileTemplate(in).NeedsBody(); got != want {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"a$b", "${a ?? b}", `\$a`, "${", "$$a", "${a}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ex := &Exchange{}
		tm := CompileTemplate(s)
		got, n := tm.Eval(ex)
		if tm.Plain() && (string(got) != s || n != 0) {
			t.Fatalf("a template without references changed: %q became %q", s, got)
		}
	})
}
