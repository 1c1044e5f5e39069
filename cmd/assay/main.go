// Command assay says which workflow of which repository, at which commit, made each npm package that a
// project uses, or what exactly does not hold.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"assay/internal/cli"
)

func main() {
	log.SetOutput(io.Discard) // net/http quotes servers there, and no server writes to our terminal
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], cli.OS())
	stop()
	os.Exit(code)
}
