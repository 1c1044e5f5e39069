// Command trillian is Trillian's log service over its in-memory storage.
//
// The released trillian_log_server and trillian_log_signer are two programs that meet in a database.
// The in-memory storage lives in one process, so this program serves the log and admin calls and
// sequences what was queued. It makes the tree of the certificate transparency log and writes its number
// to a file, because that log's front end takes it from its configuration; Rekor makes its own tree.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/extension"
	trillianlog "github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/server/interceptor"
	"github.com/google/trillian/storage/memory"
	"github.com/google/trillian/util/clock"
	"github.com/google/trillian/util/election"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/klog/v2"
)

func main() {
	port := flag.Int("port", 0, "port of 127.0.0.1 to serve gRPC on")
	treeFile := flag.String("tree", "", "file to write the number of the certificate transparency log's tree to")
	flag.Parse()
	// The storage complains on every run of the sequencer that finds nothing to do.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *port, *treeFile); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, port int, treeFile string) error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	metrics := monitoring.InertMetricFactory{}
	store := memory.NewTreeStorage()
	registry := extension.Registry{
		AdminStorage:  memory.NewAdminStorage(store),
		LogStorage:    memory.NewLogStorage(store, metrics),
		MetricFactory: metrics,
		QuotaManager:  quota.Noop(),
	}
	srv := grpc.NewServer(grpc.UnaryInterceptor(interceptor.ErrorWrapper))
	trillian.RegisterTrillianLogServer(srv, server.NewTrillianLogRPCServer(registry, clock.System))
	trillian.RegisterTrillianAdminServer(srv, admin.New(registry, nil))

	go trillianlog.NewOperationManager(trillianlog.OperationInfo{
		Registry:    registry,
		TimeSource:  clock.System,
		BatchSize:   512,
		NumWorkers:  1,
		RunInterval: 40 * time.Millisecond,
		ElectionConfig: election.RunnerConfig{
			TimeSource: clock.System,
		},
	}, trillianlog.NewSequencerManager(registry, 0)).OperationLoop(ctx)

	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(listener) }()
	go func() {
		<-ctx.Done()
		srv.Stop()
	}()
	if err := makeTree(ctx, listener.Addr().String(), treeFile); err != nil {
		return fmt.Errorf("making the certificate transparency log's tree: %w", err)
	}
	return <-ended
}

func makeTree(ctx context.Context, address, file string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	tree, err := client.CreateAndInitTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
		DisplayName:     "certificate transparency",
		TreeType:        trillian.TreeType_LOG,
		TreeState:       trillian.TreeState_ACTIVE,
		MaxRootDuration: durationpb.New(time.Hour),
	}}, trillian.NewTrillianAdminClient(conn), trillian.NewTrillianLogClient(conn))
	if err != nil {
		return err
	}
	// Whoever waits for the file must not see half of it.
	if err := os.WriteFile(file+".part", fmt.Appendf(nil, "%d", tree.TreeId), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}
