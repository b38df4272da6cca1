package journal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// Damage is a part of the journal that was not readable on open although it had held acknowledged writes.
type Damage struct {
	// Offset and Bytes say where it was in the journal.
	Offset, Bytes int
	// Records is the estimated number of records in it.
	Records int
	// After is the revision of the last intact record before it.
	After store.Rev
	// File is the path of the copy.
	File string
}

// Recovery tells what Open had to repair. Only Damaged and LostObjects mean that acknowledged writes are lost.
type Recovery struct {
	// TornOffset and TornBytes describe the unfinished write that was cut off, if TornBytes is not 0.
	TornOffset, TornBytes int
	// Damaged lists the parts that were moved aside.
	Damaged []Damage
	// LostObjects is how many objects are missing at the head of the file, as far as the head is readable.
	LostObjects int
}

// image is what a journal file says.
type image struct {
	state    store.State
	recovery Recovery
}

// load reads a journal file. The values of the state are copies. An error means that the file is not a journal that
// this program can read.
func load(data []byte) (image, error) {
	if len(data) == 0 {
		return image{}, nil
	}
	payloads, offsets, bad := split(data)
	if len(payloads) == 0 {
		return image{}, errors.New("no record in it is intact; move it away to start with an empty store")
	}
	r := replay{items: make(map[model.Key]store.Change, len(payloads))}
	var img image
	for i, text := range payloads {
		for len(bad) > 0 && bad[0].Offset < offsets[i] {
			img.damage(data, bad[0], r.rev)
			bad = bad[1:]
		}
		if err := r.record(text, i == 0); err != nil {
			return image{}, fmt.Errorf("record at offset %d: %w", offsets[i], err)
		}
	}
	for _, s := range bad {
		if r.complete() {
			img.recovery.TornOffset, img.recovery.TornBytes = s.Offset, s.End-s.Offset
		} else {
			img.damage(data, s, r.rev)
		}
	}
	if r.head != nil {
		img.recovery.LostObjects = r.head.objects - r.objects
	}
	img.state = store.State{Rev: r.rev, Items: make([]store.Change, 0, len(r.items))}
	for _, c := range r.items {
		c.Object.Value = bytes.Clone(c.Object.Value)
		img.state.Items = append(img.state.Items, c)
	}
	slices.SortFunc(img.state.Items, func(a, b store.Change) int { return store.CompareObjects(a.Object, b.Object) })
	return img, nil
}

func (img *image) damage(data []byte, s span, after store.Rev) {
	img.recovery.Damaged = append(img.recovery.Damaged, Damage{
		Offset:  s.Offset,
		Bytes:   s.End - s.Offset,
		Records: countRecords(data[s.Offset:s.End]),
		After:   after,
	})
}

// replay applies records in order.
type replay struct {
	rev     store.Rev
	head    *head
	objects int // read from the head of the file
	txns    int
	items   map[model.Key]store.Change
}

// complete tells whether what follows can only be transactions.
func (r *replay) complete() bool {
	return r.txns > 0 || r.head != nil && r.objects == r.head.objects
}

func (r *replay) record(text []byte, first bool) error {
	p, err := decode(text)
	if err != nil {
		return err
	}
	switch {
	case p.head != nil:
		if !first {
			return errors.New("a second head, as if two journals had been joined")
		}
		r.head, r.rev = p.head, p.head.rev
	case p.object != nil:
		switch {
		case r.txns > 0:
			return errors.New("an object after the first transaction")
		case r.head != nil && p.object.Object.Mod > r.head.rev:
			return fmt.Errorf("object is at revision %d, the head at %d", p.object.Object.Mod, r.head.rev)
		case r.head != nil && r.objects == r.head.objects:
			return fmt.Errorf("more than the %d objects that the head announces", r.head.objects)
		}
		r.objects++
		r.rev = max(r.rev, p.object.Object.Mod)
		r.items[p.object.Key] = *p.object
	case p.txn != nil:
		if p.txn.Rev <= r.rev {
			return fmt.Errorf("revision %d comes after %d", p.txn.Rev, r.rev)
		}
		r.txns++
		r.rev = p.txn.Rev
		for _, c := range p.txn.Changes {
			if c.Object != nil {
				r.items[c.Key] = c
			} else {
				delete(r.items, c.Key)
			}
		}
	}
	return nil
}
