// Java's own client with its defaults: it asks to upgrade to HTTP/2 with each first request.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.concurrent.CompletableFuture;

public class Infer {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int round = 0; round < 5; round++) {
            var answers = new ArrayList<CompletableFuture<HttpResponse<String>>>();
            for (int number = 0; number < 20; number++) {
                String body = "{\"id\":\"java-" + round + "-" + number + "\",\"inputs\":[{\"name\":\"x\",\"shape\":[1,4],"
                    + "\"datatype\":\"FP32\",\"data\":[1,2,3,4]}]}";
                var publisher = number % 2 == 0
                    ? HttpRequest.BodyPublishers.ofString(body)
                    : HttpRequest.BodyPublishers.ofInputStream(() -> new java.io.ByteArrayInputStream(body.getBytes()));
                var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                    .header("Content-Type", "application/json").POST(publisher).build();
                answers.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofString()));
            }
            for (int number = 0; number < answers.size(); number++) {
                HttpResponse<String> answer = answers.get(number).get();
                if (answer.statusCode() != 200 || !answer.body().contains("\"java-" + round + "-" + number + "\"")) {
                    throw new IllegalStateException(answer.statusCode() + " " + answer.body());
                }
            }
        }
        System.out.println("100 answered");
    }
}
