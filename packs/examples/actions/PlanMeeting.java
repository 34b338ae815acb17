import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.DayOfWeek;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Finds times at which it is office time in several zones. One file, run as `java PlanMeeting.java`. */
public class PlanMeeting {
    private static final DateTimeFormatter PRETTY = DateTimeFormatter.ofPattern("EEE d MMM HH:mm", Locale.ENGLISH);

    /** A parameter: the agent puts each into ATTUNE_ACTION_<NAME>, whatever is not a string as JSON text. */
    private static String parameter(String name, String otherwise) {
        return System.getenv().getOrDefault("ATTUNE_ACTION_" + name.toUpperCase(Locale.ROOT), otherwise);
    }

    /** The elements of a JSON array of zone names; by the manifest none of them needs an escape. */
    private static List<ZoneId> zones(String json) {
        return Pattern.compile("\"([^\"]*)\"").matcher(json).results()
                .map(match -> ZoneId.of(match.group(1))).distinct().collect(Collectors.toList());
    }

    private static String json(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < ' ') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }

    private static boolean isOfficeTime(ZonedDateTime start, ZonedDateTime end, int opens, int closes) {
        if (start.getDayOfWeek() == DayOfWeek.SATURDAY || start.getDayOfWeek() == DayOfWeek.SUNDAY) return false;
        LocalDate day = start.toLocalDate(); // hours counted from its midnight, so that 24 is a possible closing time
        long startsAt = ChronoUnit.MINUTES.between(day.atStartOfDay(), start.toLocalDateTime());
        long endsAt = ChronoUnit.MINUTES.between(day.atStartOfDay(), end.toLocalDateTime());
        return startsAt >= opens * 60L && endsAt <= closes * 60L;
    }

    public static void main(String[] arguments) {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8); // whatever the locale says
        try {
            List<ZoneId> zones = zones(parameter("zones", "[\"UTC\"]"));
            String title = parameter("title", "Planning");
            int minutes = Integer.parseInt(parameter("minutes", "60"));
            int wanted = Integer.parseInt(parameter("slots", "3"));
            int opens = Integer.parseInt(parameter("opens", "8"));
            int closes = Integer.parseInt(parameter("closes", "18"));
            String from = parameter("from", LocalDate.now(ZoneOffset.UTC).plusDays(1).toString());
            Instant first = LocalDate.parse(from).atStartOfDay(zones.get(0)).toInstant();

            System.err.printf("%d minutes for participants in %s, %d:00 to %d:00%n", minutes, zones, opens, closes);
            int found = 0;
            for (int quarter = 0; quarter < 14 * 24 * 4 && found < wanted; quarter++) {
                Instant start = first.plus(15L * quarter, ChronoUnit.MINUTES);
                Instant end = start.plus(minutes, ChronoUnit.MINUTES);
                if (!zones.stream().allMatch(zone -> isOfficeTime(start.atZone(zone), end.atZone(zone), opens, closes))) continue;
                found++;
                quarter += (minutes + 14) / 15 - 1; // the next slot starts when this one is over
                System.err.println("  " + zones.stream().map(zone -> PRETTY.format(start.atZone(zone)) + " " + zone)
                        .collect(Collectors.joining("  |  ")));
                String local = zones.stream().map(zone -> json(zone.getId()) + ":" + json(start.atZone(zone).toOffsetDateTime().toString()))
                        .collect(Collectors.joining(","));
                out.printf("{\"title\":%s,\"start\":\"%s\",\"minutes\":%d,\"local\":{%s}}%n", json(title), start, minutes, local);
            }
            if (found == 0) throw new DateTimeException("no time within two weeks of " + from + " is office time in all of " + zones);
        } catch (DateTimeException | NumberFormatException error) {
            System.err.println("plan_meeting: " + error.getMessage());
            System.exit(1);
        }
    }
}
