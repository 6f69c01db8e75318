import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

import java.util.List;
import java.util.concurrent.CountDownLatch;

/** A MongoDB-compatible server in memory on 127.0.0.1: one document at a time, without sessions and transactions. */
final class CompatServer {
    /** What the server calls itself: the driver asks for a newer wire version than it knows by itself. */
    private record Version(List<Integer> getVersionArray, int getWireVersion) implements MongoVersion {}

    public static void main(String[] arguments) throws InterruptedException {
        MemoryBackend backend = new MemoryBackend();
        backend.version(new Version(List.of(5, 0, 0), 13));
        MongoServer server = new MongoServer(backend);
        server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        new CountDownLatch(1).await();
    }
}
