package store

import (
	"time"

	"github.com/sluice-gateway/sluice/control/model"
)

// Change is one key's new state inside a Record: the object, or nil if the key was deleted.
type Change struct {
	Key    model.Key
	Object *Object
	// Expires is when the store deletes the object by itself; zero for never.
	Expires time.Time
}

// Record is one transaction as a Log writes it.
type Record struct {
	Rev     Rev
	Changes []Change
}

// State is everything a Hub holds: what a Log brings back after a restart and what it needs to rewrite itself.
// Items have an Object each and no key twice.
type State struct {
	Rev   Rev
	Items []Change
}

// Log makes the transactions of a Hub durable. Its methods are called by one goroutine at a time. The function
// live returns the state before the records at hand; the log must not keep it.
type Log interface {
	// Append returns nil when all records are durable, or an error when none may be relied on. The hub then goes on
	// as if they had never been; they must not come back once a later Append succeeded.
	Append(recs []Record, live func() State) error
	// Tidy is called after the answers to an Append went out and may take its time to make the log smaller.
	Tidy(live func() State)
	Close() error
}
