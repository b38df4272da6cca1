package journal

import (
	"bytes"
	"testing"

	"github.com/sluice-gateway/sluice/control/store"
)

// FuzzLoad reads arbitrary files. What is read must account for every byte, and what was understood must be written
// again as it was.
func FuzzLoad(f *testing.F) {
	record := func(payload string) []byte {
		return appendRecord(nil, func(b []byte) []byte { return append(b, payload...) })
	}
	head := record(`{"store":"sluice","version":1,"rev":2,"objects":1}`)
	object := record(`{"mod":1,"put":"/routes/1","create":1,"expires":1750000000000,"size":4,"value":null}`)
	txn := record(`{"rev":3,"ops":[{"put":"/odd/a \"\\","create":3,"size":3,"value":[
]},{"delete":"/routes/1"}]}`)
	f.Add([]byte{})
	f.Add(bytes.Join([][]byte{head, object, txn}, nil))
	f.Add(bytes.Join([][]byte{head, object, txn[:30]}, nil))
	f.Add(bytes.Join([][]byte{head, object[5:], txn}, nil))
	f.Add(bytes.Join([][]byte{object, txn, head}, nil))
	f.Add(record(`{"rev":99999999999999999999,"ops":[]}`))
	f.Add(record(`{"rev":3,"ops":[{"put":"/a/b`))
	f.Add([]byte("R ffffffff ffffffff x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		payloads, offsets, bad := split(data)
		at := 0
		for i, p := range payloads {
			for len(bad) > 0 && bad[0].Offset == at {
				at = bad[0].End
				bad = bad[1:]
			}
			if offsets[i] != at {
				t.Fatalf("record %d is at %d, want %d", i, offsets[i], at)
			}
			rec := appendRecord(nil, func(b []byte) []byte { return append(b, p...) })
			if !bytes.HasPrefix(data[at:], rec) {
				t.Fatalf("record %q comes from %q", rec, data[at:])
			}
			at += len(rec)
			checkDecode(t, p)
		}
		if len(bad) == 1 && bad[0].Offset == at {
			at = bad[0].End
			bad = nil
		}
		if at != len(data) || len(bad) > 0 {
			t.Fatalf("%d of %d bytes are accounted for, left is %v", at, len(data), bad)
		}
		img, err := load(data)
		if err == nil && len(data) > 0 && len(img.recovery.Damaged) == 0 && img.recovery.LostObjects < 0 {
			t.Fatalf("Recovery is %+v", img.recovery)
		}
	})
}

// FuzzDecode reads arbitrary payloads, which the checksums keep from FuzzLoad.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`{"store":"sluice","version":1,"rev":2,"objects":1}`,
		`{"store":"sluice","version":2}`,
		`{"mod":1,"put":"/routes/1","create":1,"expires":1750000000000,"size":4,"value":null}`,
		`{"mod":1,"put":"/routes/1","create":2,"size":9,"value":null}`,
		`{"rev":3,"ops":[{"put":"/odd/a \"\\","create":3,"size":1,"value":1},{"delete":"/routes/1"}]}`,
		`{"rev":3,"ops":[{"delete":"/routes/1\"`,
		`{"rev":03,"ops":[{"delete":"/routes/1\`,
		`{"rev":-3,"ops":[]}`,
		``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(checkDecode)
}

func checkDecode(t *testing.T, data []byte) {
	p, err := decode(data)
	if err != nil {
		return
	}
	var again []byte
	switch {
	case p.head != nil:
		again = appendHead(nil, *p.head)
	case p.object != nil:
		again = appendObject(nil, *p.object)
	default:
		again = appendTxn(nil, *p.txn)
	}
	if !bytes.Equal(again, data) {
		t.Fatalf("%q is written as %q", data, again)
	}
	for _, c := range changes(p) {
		if err := store.ValidKey(c.Key); err != nil {
			t.Fatalf("%q has the key %q: %v", data, c.Key, err)
		}
	}
}

func changes(p payload) []store.Change {
	switch {
	case p.object != nil:
		return []store.Change{*p.object}
	case p.txn != nil:
		return p.txn.Changes
	}
	return nil
}
