// Package reconcile carries a change from a writer to the planes, completely or not at all.
//
// The life of a change, all of it in Controller.run, the one goroutine that owns the state:
//
//  1. Update queues a function. The goroutine takes all that wait as one batch.
//  2. Each function sees the stored objects as the earlier ones of the batch leave them, and returns operations
//     or an error. Nothing is written yet.
//  3. compile turns the outcome into a snapshot. A written object that does not compile refuses its update.
//  4. Every plane prepares the snapshot. A plane may refuse; nothing has happened yet.
//  5. The store writes all operations in one transaction. Afterwards they are durable.
//  6. Every plane commits, which cannot fail, and the callers get their answers.
//
// A failure in 3, 4 or 5 aborts what was prepared and leaves store, planes and view as they were; the
// updates of the batch are then tried in smaller batches, so that only those at fault fail.
//
// What else changes in the store (expiry, other writers) arrives by Watch and goes through compile and the planes the
// same way. Such a change is a fact already, so instead of being refused, an object that does not
// compile stays served in its last good version and is listed in Status; a plane that refuses a snapshot keeps the
// last one and is tried again.
package reconcile
