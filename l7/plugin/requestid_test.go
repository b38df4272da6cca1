package plugin

import "testing"

// conf of apisix/cli/ngx_tpl.lua: "set $apisix_request_id $request_id".
func TestRequestIDVars(t *testing.T) {
	own, apisix := CompileVar("request_id"), CompileVar("apisix_request_id")
	ex := &Exchange{}
	a, _ := apisix(ex)
	v, ok := own(ex)
	b := string(v)
	if len(a) != 32 || string(a) != b || !ok {
		t.Fatalf("got %q and %q", a, b)
	}
	ex.SetVar("apisix_request_id", []byte("x"))
	if v, _ := apisix(ex); string(v) != "x" {
		t.Fatalf("got %q", v)
	}
	if v, _ := own(ex); string(v) != b {
		t.Fatalf("request_id changed to %q", v)
	}
	ex.Reset()
	if v, _ := own(ex); string(v) == b {
		t.Fatal("two exchanges have the same id")
	}
}
