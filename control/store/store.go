// Package store keeps the configuration resources as they were written and tells who watches about every
// change. Store is the contract that all back ends share; Hub is the in-memory half of it (index, revisions,
// conditions, deadlines, fan-out), which NewMemory serves alone and package journal puts a durable file under.
//
// # Revisions
//
// One counter numbers all writes of a store. Every operation of one transaction gets the same revision, as in
// etcd, so Mod is what the Admin API calls modifiedIndex and Create what it calls createdIndex. Revisions grow
// strictly, never come twice (not after a restart either) and may have gaps.
//
// # Values
//
// A value is kept byte for byte as given, because clients compare what they read with what they wrote. Nobody
// may change the bytes of a value that came out of a store: readers share them.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/control/model"
)

// Errors that callers branch on. Stores wrap them, so compare with errors.Is.
var (
	// ErrNotFound: the key read or deleted does not exist.
	ErrNotFound = errors.New("key not found")
	// ErrConflict: IfMod or IfAbsent did not hold. Read again and retry.
	ErrConflict = errors.New("condition does not hold")
	// ErrCompacted: the events after that revision are no longer (or not) known here. List again, then watch
	// from the revision of the list.
	ErrCompacted = errors.New("revision is compacted")
	// ErrNoSpace: the disk is full or over quota. Nothing was changed; reads go on, and writes work again as
	// soon as there is room.
	ErrNoSpace = errors.New("no space left for the store")
	// ErrReadOnly: this store, or the file system below it, takes no writes.
	ErrReadOnly = errors.New("store is read-only")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("store is closed")
	// ErrInvalid: the transaction itself is malformed: a bad key, a value that is not JSON, one key twice, too
	// large. Retrying does not help.
	ErrInvalid = errors.New("invalid transaction")
)

// Limits of one transaction; exceeding them is ErrInvalid.
const (
	// MaxOps is the largest number of operations in one transaction.
	MaxOps = 100_000
	// MaxTxnBytes bounds the keys and values of one transaction together, in bytes.
	MaxTxnBytes = 64 << 20
	// MaxKeyBytes bounds Kind and ID of a key together, in bytes.
	MaxKeyBytes = 1024
)

// Rev is a revision: the number of a write. 0 is before the first.
type Rev int64

// Object is one stored resource. Create is the revision that made it, Mod the one that last changed it. Value
// is shared between readers and must not be modified.
type Object struct {
	Key    model.Key
	Value  json.RawMessage
	Create Rev
	Mod    Rev
}

// Op is one change inside a transaction. A put has a Value, a delete has none.
type Op struct {
	Key model.Key
	// Value is a JSON text, kept verbatim; nil deletes the key.
	Value json.RawMessage
	// IfMod, if not 0, demands that the object exists and its Mod is this revision.
	IfMod Rev
	// IfAbsent demands that the key does not exist; only for a put.
	IfAbsent bool
	// TTL, if not 0, has the store delete the object that long after this write, unless it is written again.
	// A put without TTL takes the deadline away. Deadlines have a resolution of one millisecond.
	TTL time.Duration
}

// Event is one change as watchers see it. Object is nil if the key was deleted; Prev is nil if it was created.
type Event struct {
	Key    model.Key
	Object *Object
	Prev   *Object
}

// Batch is everything that one transaction (or one expiry) changed, in the order of its operations. Its events are
// shared between all watchers and must not be modified.
type Batch struct {
	Rev    Rev
	Events []Event
}

// Store holds objects. All methods are safe for concurrent use and return ErrClosed after Close.
type Store interface {
	// List returns the objects of a kind as of one revision, sorted by Create, then by ID.
	List(ctx context.Context, kind model.Kind) ([]Object, Rev, error)
	// All returns every object as of one revision, sorted by Create, then by kind and ID.
	All(ctx context.Context) ([]Object, Rev, error)
	// Get returns one object or ErrNotFound.
	Get(ctx context.Context, key model.Key) (Object, error)
	// Txn applies all operations at one new revision, or none of them. When it returns without error the change is
	// durable (as far as the store is) and visible to every reader. Deleting an absent key is ErrNotFound, a condition
	// that does not hold is ErrConflict; both come in an *OpError that names the operation. Without operations nothing
	// happens and the present revision is returned. If the context ends before the store took the transaction up,
	// nothing was changed; afterwards the outcome is waited for. After an error other than these and
	// ErrNoSpace the outcome is unknown until the store is opened again or a later write succeeds, which
	// settles it as not done.
	Txn(ctx context.Context, ops []Op) (Rev, []Event, error)
	// Watch sends every batch after revision from, in order and without gaps. The channel is closed when the
	// context ends, when the store closes, and when the receiver falls too far behind; in the last case it must
	// list again. ErrCompacted if the events after from are not known, which includes a revision
	// that the store has not reached.
	Watch(ctx context.Context, from Rev) (<-chan Batch, error)
	// NextID returns an id for an object that a client posted without one: 20 decimal digits as in APISIX
	// (apisix/core/etcd.lua, push). It uses up a revision, which is how ids stay unique over restarts: whatever is
	// stored under an id has a higher revision than the id. It writes nothing.
	NextID(ctx context.Context) (string, error)
	// Close waits for the transaction in progress, fails those that wait and ends all watches.
	Close() error
}

// OpError says which operation of a transaction failed. It unwraps to the reason.
type OpError struct {
	Index int
	Key   model.Key
	Err   error
}

func (e *OpError) Error() string { return fmt.Sprintf("operation %d on %s: %v", e.Index, e.Key, e.Err) }

// Unwrap returns the reason.
func (e *OpError) Unwrap() error { return e.Err }

// FormatID is the form of the ids that NextID makes.
func FormatID(rev Rev) string { return fmt.Sprintf("%020d", rev) }
