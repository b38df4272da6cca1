// Package journal is the durable store of a single node: everything in memory, and one append-only file that has
// each transaction on disk before it is acknowledged.
//
// # Files
//
// The store's directory (mode 0700) holds, all with mode 0600:
//
//	journal                the data
//	journal.new            a rewrite in progress; removed on open
//	journal.corrupt-<rev>  a damaged part of a journal, moved here on open
//	lock                   locked (flock) by the process that has the store open; its content is that process's id
//
// # Format
//
// The journal is a sequence of records. A record is one line of text, unless a value was written with line breaks,
// which stay as they are:
//
//	R <length> <crc> <payload>\n
//
// length is the number of bytes of the payload and crc its CRC-32C (Castagnoli), both as 8 lower-case hexadecimal
// digits. The payload is JSON in exactly one of three forms, without spaces outside of values; fields come in this
// order and those in brackets are left out if empty:
//
//	{"store":"sluice","version":1,"rev":R,"objects":N}
//	{"mod":M,"put":"/routes/1","create":C[,"expires":T],"size":S,"value":V}
//	{"rev":R,"ops":[OP,...]}   with OP = {"put":"/routes/1","create":C[,"expires":T],"size":S,"value":V}
//	                              or OP = {"delete":"/routes/1"}
//
// The first is the head of the file: N records of the second form follow, the objects as of revision R. After them
// comes one record of the third form per transaction, with growing revisions. V is the value as it was given, S its
// length in bytes, T the object's deadline in milliseconds since 1970. So grep finds an object by key or content, and
// `cut -c21- journal | jq` reads it (if no value has line breaks).
//
// # Writing
//
// Records are written at the end of the file and synced with fdatasync before the transaction returns. Transactions
// that arrive while a sync is under way share the next one. If a write fails (ErrNoSpace, ErrReadOnly or an I/O
// error), the file is cut back to its last good record and the transaction fails; the next one is tried afresh. If a
// sync fails, the kernel may have thrown the dirty pages away and report success the next time, so nothing is ever
// appended to that file again: before the next transaction is acknowledged the journal is rewritten from memory into
// a new file.
//
// # Rewriting
//
// When the file is over 4 MiB and twice the size of what is alive, it is rewritten: journal.new is written and
// synced, renamed over journal, and the directory is synced. Readers do not notice; a writer that comes meanwhile
// waits. A crash at any point leaves either the old or the new file under the name journal, both complete. Only
// when the directory is synced is anything appended to the new file acknowledged.
//
// # Opening
//
// A damaged end of the file, where no intact record follows, is what a crash during a write leaves. It was
// never acknowledged, so it is cut off and logged with offset and size.
//
// Damage before intact records, or among the objects at the head of the file, is not from a crash of ours: the disk
// or somebody else changed the file, and acknowledged writes are lost. The damaged bytes are saved in
// journal.corrupt-<rev> (rev is the revision before them), an error is logged with offset, size and number of records,
// Recovery reports it, and the store opens with every record whose checksum holds: those after the damage too, because
// each holds whole values and whole transactions. So a key written after the damage is right, one that was last
// written in the damaged part has its earlier value, and one that was deleted there is back. Stopping at the damage
// instead would lose strictly more. If the damaged part cannot be saved, if no record is intact, or if a record is
// intact but not understood (a newer version wrote it), Open fails and changes nothing.
package journal
