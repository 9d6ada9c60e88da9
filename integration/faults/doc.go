// Package faults holds no code of its own. Its tests prove that every fault of faultproxy does to plain Redis, PostgreSQL
// and NATS clients what it says: what the client sees is set against what the server really did.
package faults
