// Package worktools proves that gocraft/work's own web interface can work with our
// jobs. It is a module of its own, for what work/webui needs is nobody else's.
package worktools
