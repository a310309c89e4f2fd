import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.Machine;

/** Reads lines of {"pattern": ..., "event": ...}; answers each with true, false, or refused where the pattern is. */
public final class RulerOracle {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        StringBuilder answers = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode asked = json.readTree(line);
            String answer;
            try {
                Machine machine = new Machine();
                machine.addRule("rule", asked.get("pattern").toString());
                answer = machine.rulesForJSONEvent(asked.get("event").toString()).isEmpty() ? "false" : "true";
            } catch (Exception refused) {
                answer = "refused " + refused.getClass().getSimpleName() + " " + refused.getMessage();
            }
            answers.append(answer.replace('\n', ' ')).append('\n');
        }
        System.out.print(answers);
    }
}
